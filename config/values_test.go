package config

import (
	"encoding"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// refused checks that text is refused with a message and a hint.
func refused(t *testing.T, v encoding.TextUnmarshaler, text string) {
	t.Helper()
	err := v.UnmarshalText([]byte(text))
	var refusal *ValueError
	if !errors.As(err, &refusal) || refusal.Msg == "" || refusal.Hint == "" {
		t.Errorf("%T %q: got %v, want a refusal with a hint", v, text, err)
	}
}

func TestDuration(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		text string
		want time.Duration
		back string
	}{
		{"0s", 0, "0s"},
		{"90s", 90 * time.Second, "1m30s"},
		{"15m", 15 * time.Minute, "15m"},
		{"24h", day, "1d"},
		{"1d12h", 36 * time.Hour, "1d12h"},
		{"2w", 14 * day, "14d"},
		{"1w2d3h4m5s", 9*day + 3*time.Hour + 4*time.Minute + 5*time.Second, "9d3h4m5s"},
		{"106751d", 106751 * day, "106751d"},
		{"007m", 7 * time.Minute, "7m"},
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(test.text)); err != nil || time.Duration(d) != test.want {
			t.Errorf("%q: got %v, %v; want %v", test.text, time.Duration(d), err, test.want)
		}
		if d.String() != test.back {
			t.Errorf("%q comes back as %q, want %q", test.text, d, test.back)
		}
	}
	for _, text := range []string{
		"", "0", "5", "s", "-5m", "+5m", "5 m", " 5m", "5m ", "1.5h", "1,5h", "5M", "5min", "5ms", "1y", "1h1h", "5m1h",
		"1h5", "106752d", "15251w", "99999999999999999999s", "9223372036854775807s", "٣m", "0x5m", "5m\x00",
	} {
		refused(t, new(Duration), text)
	}
	if err := new(Duration).UnmarshalTOML(int64(5)); err == nil {
		t.Error("a bare number was taken for a duration")
	}
	if got := Duration(1500 * time.Millisecond).String(); got != "1.5s" {
		t.Errorf("1.5 s is %q", got)
	}
}

func TestDurationRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Duration(rapid.Int64Range(0, 9223372036).Draw(t, "seconds") * int64(time.Second))
		var got Duration
		if err := got.UnmarshalText([]byte(want.String())); err != nil || got != want {
			t.Fatalf("%d is %q, which is %d, %v", want, want, got, err)
		}
	})
}

func TestSize(t *testing.T) {
	for _, test := range []struct {
		text string
		want Size
		back string
	}{
		{"0", 0, "0"},
		{"512", 512, "512"},
		{"1023", 1023, "1023"},
		{"1024", 1024, "1K"},
		{"1500K", 1500 << 10, "1500K"},
		{"50M", 50 << 20, "50M"},
		{"1G", 1 << 30, "1G"},
		{"1024G", 1 << 40, "1T"},
		{"2048T", 2048 << 40, "2048T"},
		{"9223372036854775807", 9223372036854775807, "9223372036854775807"},
	} {
		var s Size
		if err := s.UnmarshalText([]byte(test.text)); err != nil || s != test.want {
			t.Errorf("%q: got %d, %v; want %d", test.text, s, err, test.want)
		}
		if s.String() != test.back {
			t.Errorf("%q comes back as %q, want %q", test.text, s, test.back)
		}
	}
	for _, text := range []string{
		"", "G", "-1", "+1", "1.5G", "1,5G", "1 G", " 1", "1g", "50MB", "50MiB", "50M/s", "1P", "0x10", "1e3", "1_000",
		"9223372036854775808", "8388608T", "٣", "1K\x00",
	} {
		refused(t, new(Size), text)
	}
}

func TestSizeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Size(rapid.Int64Min(0).Draw(t, "bytes"))
		var got Size
		if err := got.UnmarshalText([]byte(want.String())); err != nil || got != want {
			t.Fatalf("%d is %q, which is %d, %v", int64(want), want, int64(got), err)
		}
	})
}

func TestIOClass(t *testing.T) {
	for text, want := range map[string]IOClass{
		"none":          {0, 0},
		"idle":          {3, 0},
		"best-effort":   {2, 4},
		"best-effort:0": {2, 0},
		"best-effort:7": {2, 7},
	} {
		var c, back IOClass
		if err := c.UnmarshalText([]byte(text)); err != nil || c != want {
			t.Errorf("%q: got %v, %v", text, c, err)
		}
		if err := back.UnmarshalText([]byte(c.String())); err != nil || back != want {
			t.Errorf("%q comes back as %q, %v", text, c, err)
		}
	}
	for _, text := range []string{"", "Idle", "idle:1", "none:", "best-effort:", "best-effort:8", "best-effort:-1", "best-effort:07", "realtime", "3"} {
		refused(t, new(IOClass), text)
	}
}

func TestReceiver(t *testing.T) {
	for _, want := range []Receiver{ReceiverNative, ReceiverProgs} {
		var r Receiver
		if err := r.UnmarshalText([]byte(want.String())); err != nil || r != want {
			t.Errorf("%s: got %s, %v", want, r, err)
		}
	}
	for _, text := range []string{"", "Native", "btrfs", "/usr/bin/btrfs"} {
		refused(t, new(Receiver), text)
	}
}

func TestURL(t *testing.T) {
	for _, good := range []string{
		"ssh://nas/srv", "ssh://backup@nas.example:22/srv/a%20b", "ssh://[fe80::1]:22/srv", "ssh://nas/", "ssh://nas/a b",
		"s3://bucket", "s3://bucket/", "s3://my-bucket.2/home/a",
	} {
		if got, err := cleanURL(good); err != nil || got != good {
			t.Errorf("%s: got %s, %v", good, got, err)
		}
	}
	for _, same := range [][2]string{
		{"ssh://nas/srv/", "ssh://nas//srv"},
		{"s3://bucket", "s3://bucket/"},
		{"ssh://nas/srv", "ssh://nas:22/srv"},
		{"ssh://a@nas/srv", "ssh://a@NAS:/srv/"},
		{"ssh://[fe80::22]/srv", "ssh://[FE80::22]:22/srv"},
	} {
		if sameURL(same[0]) != sameURL(same[1]) {
			t.Errorf("%s is not %s", sameURL(same[0]), sameURL(same[1]))
		}
	}
	if sameURL("/a:/b") == sameURL("/a") || sameURL("ssh://a/b") == sameURL("ssh://b/b") {
		t.Error("different destinations are taken for the same")
	}
	for _, other := range []string{"ssh://nas:2222/srv", "ssh://nas:222/srv", "ssh://A@nas/srv", "ssh://nas/Srv"} {
		if sameURL(other) == sameURL("ssh://nas/srv") {
			t.Errorf("%s is taken for ssh://nas/srv", other)
		}
	}
}

func TestClosest(t *testing.T) {
	known := []string{"source", "destination", "destinations", "keep", "url"}
	for key, want := range map[string]string{
		"sorce": "source", "suorce": "source", "sources": "source", "Soruce": "source", "destinatoin": "destination",
		"dest": "destination", "kepe": "keep", "ulr": "url", "uri": "url", "target": "", "x": "", "ur": "url", "": "",
	} {
		if got := closest(key, known); got != want {
			t.Errorf("%q: got %q, want %q", key, got, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	e := &Error{File: "a.toml", Line: 3, Column: 4, Text: "\tö\tx = 1", Msg: "bad", Hint: "good"}
	const want = "a.toml:3:4: bad\n  | \tö\tx = 1\n  | \t \t^\n  hint: good"
	if diff := cmp.Diff(want, e.Error()); diff != "" {
		t.Error(diff)
	}
	whole := &Error{File: "SOURCE", Msg: "bad"}
	if diff := cmp.Diff(want+"\nSOURCE: bad", Errors{e, whole}.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestAdhoc(t *testing.T) {
	c, err := Adhoc("/srv//www/", "/mnt/backup", false, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Timezone:   time.Local,
		Parallel:   2,
		StateDir:   "/var/lib/btrkeep",
		RuntimeDir: "/run/btrkeep",
		Checkpoint: Checkpoint{Bytes: 1 << 30, Time: Duration(time.Minute)},
		Receiver:   DefaultReceiver,
		Jobs: []Job{{
			Name:         "srv-www",
			Source:       "/srv/www",
			SnapshotDir:  "/srv/www/.btrkeep",
			CatchUp:      true,
			IOClass:      IOClass{Class: 3},
			StallTimeout: Duration(10 * time.Minute),
			Adhoc:        true,
			Destinations: []Destination{{Name: "default", URL: "/mnt/backup"}},
		}},
	}
	if diff := cmp.Diff(want, c, cmp.Comparer(sameLocation)); diff != "" {
		t.Error(diff)
	}

	c, err = Adhoc("/home", "/backup", true, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if j := c.Jobs[0]; j.Keep != (Keep{Last: 1}) || j.Destinations[0].Keep != (Keep{}) {
		t.Errorf("latest only: %+v", j)
	}
}

func TestAdhocMistakes(t *testing.T) {
	for _, test := range []struct{ source, destination, want string }{
		{"home", "backup", `SOURCE: path "home" is not absolute|DESTINATION: path "backup" is not absolute`},
		{"/home", "/home/backup", `DESTINATION: destination "/home/backup" is inside its own source "/home"`},
		{"/home", "/home/.btrkeep", `DESTINATION: destination "/home/.btrkeep" holds the snapshots of job "home"|` +
			`DESTINATION: destination "/home/.btrkeep" is inside its own source "/home"`},
		{"/", "/", `DESTINATION: destination "/" is inside its own source "/"`},
		{"/home", "s3://bucket/x", `DESTINATION: s3 destinations are not available in this version of btrkeep`},
		{"ssh://web1/srv", "ssh://web1/srv/backup", `DESTINATION: destination "ssh://web1/srv/backup" is inside its own source "ssh://web1/srv"`},
		{"", "", `SOURCE: empty path|DESTINATION: empty path`},
	} {
		_, err := Adhoc(test.source, test.destination, false, noEnv)
		var list Errors
		errors.As(err, &list)
		var got []string
		for _, e := range list {
			got = append(got, e.Position()+": "+e.Msg)
		}
		if diff := cmp.Diff(test.want, strings.Join(got, "|")); diff != "" {
			t.Errorf("%s to %s:\n%s", test.source, test.destination, diff)
		}
	}
	if _, err := Adhoc("/", "/mnt/backup", false, noEnv); err != nil {
		t.Errorf("the root cannot be backed up: %v", err)
	}
	if _, err := Adhoc("ssh://root@web1/", "ssh://nas/backup", false, noEnv); err != nil {
		t.Errorf("another machine cannot be backed up: %v", err)
	}
}

func TestAdhocName(t *testing.T) {
	sources := []string{
		"/", "/home", "/srv/www", "/root", "/srv-www", "/srv", "/srv/my data", "/srv/my_data", "/srv/my-data", "/-dash", "/.hidden", "/日本", "/本日",
		"/a\nb", "/" + strings.Repeat("x", 255), "/" + strings.Repeat("x", 254), "/" + strings.Repeat("x", 55), "/default",
		"ssh://web1/srv", "ssh://root@web1/srv", "/ssh/web1/srv",
	}
	seen := map[string]string{}
	for _, source := range sources {
		name := adhocName(source)
		if other, ok := seen[name]; ok {
			t.Errorf("%q and %q are both %q", source, other, name)
		}
		seen[name] = source
		l := newLoader()
		l.fitName(node{path: []string{name}}, "job")
		if len(l.errors) > 0 {
			t.Errorf("%q: %v", source, l.errors)
		}
	}
	for name, source := range map[string]string{"root": "/", "home": "/home", "srv-www": "/srv/www", "srv": "/srv"} {
		if got := adhocName(source); got != name {
			t.Errorf("%s: got %q, want %q", source, got, name)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		source := "/" + rapid.StringN(1, 300, -1).Draw(t, "source")
		l := newLoader()
		l.fitName(node{path: []string{adhocName(source)}}, "job")
		if len(l.errors) > 0 {
			t.Fatalf("%q: %v", source, l.errors)
		}
	})
}

func Example() {
	_, err := load([]source{{"btrkeep.toml", "[jobs.home]\nsorce = \"/home\"\ndestination = \"/mnt/home\"\nkeep = { daily = 7 }\n"}}, noEnv)
	fmt.Println(err)
	// Output:
	// btrkeep.toml:2:1: unknown key "sorce"
	//   | sorce = "/home"
	//   | ^
	//   hint: did you mean "source"?
}
