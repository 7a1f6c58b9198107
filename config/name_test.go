package config

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func nameFormat(t rapid.TB, text string) NameFormat {
	t.Helper()
	var f NameFormat
	if err := f.UnmarshalText([]byte(text)); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return f
}

func TestNameFormat(t *testing.T) {
	berlin := mustZone(t, "Europe/Berlin")
	at := time.Date(2026, 11, 23, 12, 56, 7, 890, berlin)
	for format, want := range map[string]string{
		"":                      "20261123T115607Z", // the zero value
		"20060102T150405Z":      "20261123T115607Z",
		"%Y%m%dT%H%M%SZ":        "20261123T115607Z",
		"20060102-150405":       "20261123-125607",
		"060102-150405":         "261123-125607",
		"%y%m%d-%H%M%S":         "261123-125607", // the script that btrkeep replaces
		"%Y%m%d%H%M":            "202611231256",
		"%Y-%m-%d_%H.%M":        "2026-11-23_12.56",
		"%F %T":                 "2026-11-23 12:56:07",
		"%FT%R%z":               "2026-11-23T12:56+0100",
		"nas2-Jan.%Y%j-%H%M":    "nas2-Jan.2026327-1256",
		"%d%b%Y-%I%M%p":         "23Nov2026-1256PM",
		"100%%-%Y%m%d%H%M%S":    "100%-20261123125607",
		"home.20060102T1504":    "home.20261123T1256", // btrbk, timestamp_format long
		"20060102T150405-0700":  "20261123T125607+0100",
		"2006-01-02T15:04Z07":   "2026-11-23T12:56+01",
		"Mon 2 Jan 2006 15.4.5": "Mon 23 Nov 2026 12.56.7",
		"-%Y%m%d-%H%M":          "-20261123-1256",
		"größe-%Y%m%d-%H%M":     "größe-20261123-1256",
	} {
		var f NameFormat
		if format != "" {
			f = nameFormat(t, format)
			if f.String() != format {
				t.Errorf("%q comes back as %q", format, f)
			}
		}
		name := f.Format(at, berlin)
		if name != want {
			t.Errorf("%q: got %q, want %q", format, name, want)
		}
		for _, clash := range []string{"", "-2", "-3", "-10", "_1", "_2", "_12"} {
			back, ok := f.Parse(name+clash, berlin)
			if !ok || at.Sub(back) < 0 || at.Sub(back) >= time.Minute {
				t.Errorf("%q: %q is %v, %v", format, name+clash, back, ok)
			}
		}
		for _, foreign := range []string{
			"", ".", "..", "-2", "x" + name, name + "x", name + " ", name + "-", name + "-0", name + "-1", name + "-02", name + "_0", name + "-2-2", name + ".5",
			name[1:], name + "\n", "." + name, strings.Replace(name, "2", "x", 1),
		} {
			if back, ok := f.Parse(foreign, berlin); ok {
				t.Errorf("%q: %q is taken for %v", format, foreign, back)
			}
		}
	}
}

func TestNameFormatRefused(t *testing.T) {
	for _, text := range []string{
		"", "x", "YYMMDD-HHMMSS", "%Y%m%d", "20060102", "20060102T15", "%H%M%S", "%Y/%m/%d-%H%M", "2006/01/02 15:04", "%Y%m%d-%I%M", "%Y%d-%H%M%S",
		"%Y%m%d%H%M%", "%Y%m%d%H%M%Z", "%Y%m%d%H%M%é", "%s", "%D %T", "20060102T150405MST", ".%Y%m%d%H%M", "%Y%m%d%H%M\n", "%Y%m%d%H%M\x00",
		strings.Repeat("n", 229) + "%Y%m%d%H%M", "%%",
	} {
		refused(t, new(NameFormat), text)
	}
	nameFormat(t, strings.Repeat("n", 228)+"%Y%m%d%H%M")
}

// TestNameFormatLocal reads names of hours that daylight saving skips or has twice.
func TestNameFormatLocal(t *testing.T) {
	berlin := mustZone(t, "Europe/Berlin")
	f := nameFormat(t, "%y%m%d-%H%M%S")
	for _, name := range []string{"260329-023000", "261025-023000"} {
		if got, ok := f.Parse(name, berlin); !ok || got.Sub(time.Date(2026, got.Month(), got.Day(), 2, 30, 0, 0, berlin)).Abs() > time.Hour {
			t.Errorf("%s is %v, %v", name, got, ok)
		}
	}
	if got, ok := f.Parse("261123-125607", nil); !ok || !got.Equal(time.Date(2026, 11, 23, 12, 56, 7, 0, time.UTC)) {
		t.Errorf("without a location: %v, %v", got, ok)
	}
}

func TestNameFormatRoundTrip(t *testing.T) {
	zones := []*time.Location{time.UTC, mustZone(t, "Europe/Berlin"), mustZone(t, "America/Sao_Paulo"), mustZone(t, "Asia/Kathmandu")}
	formats := []string{DefaultNameFormat, "%y%m%d-%H%M%S", "%FT%T%z", "nas2.%Y%j%H%M%S", "2006-1-2 3:4:5PM", "%Y%m%dT%H%M%SZ"}
	rapid.Check(t, func(t *rapid.T) {
		loc := rapid.SampledFrom(zones).Draw(t, "zone")
		f := nameFormat(t, rapid.SampledFrom(formats).Draw(t, "format"))
		at := time.Unix(rapid.Int64Range(0, 3_000_000_000).Draw(t, "seconds"), 0)
		name := f.Format(at, loc)
		back, ok := f.Parse(name, loc)
		// The same name comes twice when clocks are set back, and then either is right.
		if !ok || f.Format(back, loc) != name || back.Sub(at).Abs() > time.Hour {
			t.Fatalf("%v in %v is %q, which is %v, %v", at, loc, name, back, ok)
		}
	})
}
