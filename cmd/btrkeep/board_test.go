package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/daemon"
	"github.com/btrkeep/btrkeep/jobs"
)

// anyText has what is wide, what combines, what moves the cursor, and what is long.
func anyText(t *rapid.T, label string) string {
	return rapid.StringOfN(rapid.SampledFrom([]rune("ab-/日本🐧e\u0301\u200d\x1b\n\t ")), 0, 70, -1).Draw(t, label)
}

func anyStatus(t *rapid.T) jobs.Status {
	ago := func(label string) time.Time {
		return exampleNow.Add(-time.Duration(rapid.Int64Range(-1e5, 4e9).Draw(t, label)) * time.Second)
	}
	s := jobs.Status{
		Job: anyText(t, "job"), LastError: anyText(t, "error"), State: rapid.SampledFrom([]string{"ok", "never", "running", "failing", "absent"}).Draw(t, "state"),
		LastResult: rapid.SampledFrom([]string{"ok", "failed", "partial", "cancelled"}).Draw(t, "result"),
		NextRun:    ago("next"), LastSuccess: ago("success"), Late: rapid.Bool().Draw(t, "late"),
	}
	if rapid.Bool().Draw(t, "paused") {
		s.Paused = &jobs.Paused{Until: ago("until"), By: anyText(t, "by")}
	}
	for range rapid.IntRange(0, 3).Draw(t, "destinations") {
		d := jobs.DestinationStatus{
			Name: anyText(t, "destination"), State: rapid.SampledFrom([]string{"ok", "never", "stale", "failing", "absent"}).Draw(t, "its state"),
			Newest: anyText(t, "newest"), NewestTime: ago("taken"), AgeSeconds: rapid.Int64Range(-10, 1e10).Draw(t, "age"), AbsentSince: ago("absent"),
			Backlog: rapid.IntRange(0, 100000).Draw(t, "backlog"), BacklogBytes: rapid.Int64Range(0, 1<<60).Draw(t, "bytes"),
			Total: rapid.Uint64Range(0, 1<<62).Draw(t, "total"), FullInSeconds: rapid.Int64Range(0, 3e8).Draw(t, "full"),
		}
		d.Free = d.Total / 3
		if rapid.Bool().Draw(t, "verified") {
			d.Verified = &jobs.Verified{Time: ago("verified"), Result: rapid.SampledFrom([]string{"ok", "failed"}).Draw(t, "verdict"), Error: anyText(t, "why")}
		}
		if rapid.Bool().Draw(t, "running") {
			d.Progress = &jobs.Progress{Step: "transfer", Bytes: rapid.Int64Range(0, 1<<50).Draw(t, "sent"), Estimate: rapid.Int64Range(0, 1<<50).Draw(t, "estimate")}
		}
		s.Destinations = append(s.Destinations, d)
	}
	return s
}

// Whatever is in it, the table is never wider than its screen, and nothing in it moves the cursor.
func TestBoardFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Custom(anyStatus), 1, 4).Draw(t, "all")
		columns := rapid.SampledFrom([]int{10, 40, 80, 81, 120, 200}).Draw(t, "columns")
		for _, line := range board(all, exampleNow, time.UTC).lines(screen{width: columns}) {
			if n := width(line); n > columns || strings.ContainsAny(line, "\x1b\n\t") {
				t.Fatalf("%d columns of %d: %q", n, columns, line)
			}
		}
	})
}

// On 80 columns with the longest of what usually is there all columns have something to read.
func TestBoardShortens(t *testing.T) {
	d := jobs.DestinationStatus{
		Name: "offsite-in-the-other-building", State: "failing", LastSuccess: exampleNow.Add(-123 * 24 * time.Hour), Newest: "20260701T110000Z", NewestTime: exampleNow.Add(-145 * 24 * time.Hour),
		AgeSeconds: 145 * 24 * 3600, Backlog: 145, BacklogBytes: 999 << 30, Free: 123 << 30, Total: 999 << 30, FullInSeconds: 100 * 24 * 3600,
		Drill: &jobs.Drilled{Result: "ok", LastSuccess: exampleNow.Add(-120 * 24 * time.Hour)},
	}
	s := jobs.Status{Job: "machines-of-the-third-floor", LastResult: "failed", NextRun: exampleNow.Add(20 * time.Hour), Destinations: []jobs.DestinationStatus{d}}
	want := []string{
		"JOB     DEST     STATE         NEWEST  AGE   NEXT    BACKLOG   LEFT       PROVED",
		"mac…or  off…ing  failing 123d  Jul 01  145d  Nov 24  145 999G  123G 100d  120d",
	}
	got := board([]jobs.Status{s}, exampleNow, time.UTC).lines(screen{width: 80})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	wide := board([]jobs.Status{s}, exampleNow, time.UTC).lines(screen{width: 200})
	for _, whole := range []string{"machines-of-the-third-floor", "offsite-in-the-other-building", "20260701T110000Z", "failing since Jul 23 12:30", "145 (999.0 GiB)", "123.0 GiB (12 %), full in 100d", "drill 120d"} {
		if !strings.Contains(wide[1], whole) {
			t.Errorf("%q is not in %q", whole, wide[1])
		}
	}
}

func TestPluginLine(t *testing.T) {
	schedule, err := config.ParseSchedule("@daily")
	if err != nil {
		t.Fatal(err)
	}
	list := []config.Job{{Name: "home", Schedule: schedule}}
	up := daemonState{running: true}
	status, line := pluginLine(exampleStatus(), up, list)
	if want := "BTRKEEP CRITICAL - mail/nas fails; photos/archive is stale: newest backup 40d old | jobs=4;;;0 'home/nas age'=4500s;;;0 'home/nas backlog'=1;;;0 "; status != nagiosCritical || !strings.HasPrefix(line, want) {
		t.Errorf("%d %s", status, line)
	}
	late := jobs.Status{Job: "home", Late: true, LastResult: "ok"}
	if status, line := pluginLine([]jobs.Status{late}, up, list); status != nagiosWarning || line != "BTRKEEP WARNING - home is late | jobs=1;;;0" {
		t.Errorf("%d %s", status, line)
	}
	var many []jobs.Status
	for i := range 9 {
		many = append(many, jobs.Status{Job: fmt.Sprint("j", i), LastResult: "failed", LastError: "a|b\nc"})
	}
	if status, line := pluginLine(many, daemonState{}, list); status != nagiosCritical || !strings.HasPrefix(line, "BTRKEEP CRITICAL - j0 fails: a/b; c; j1 fails: a/b; c; j2 fails: a/b; c; j3 fails: a/b; c; 6 more | jobs=9;;;0") {
		t.Errorf("%d %s", status, line)
	}
}

// The screen of watch is never larger than the terminal, shows the chosen job, and how far transfers are.
func TestWatchFits(t *testing.T) {
	w := &watcher{cfg: &config.Config{Timezone: time.UTC, StateDir: t.TempDir(), RuntimeDir: t.TempDir()}, looked: exampleNow}
	for i := range 50 {
		name := fmt.Sprintf("job%02d", i)
		w.list = append(w.list, config.Job{Name: name})
		w.all = append(w.all, jobs.Status{Job: name, Destinations: []jobs.DestinationStatus{{Name: "usb", State: "ok"}, {Name: "nas", State: "ok"}}})
	}
	ask := func(bytes int64, at time.Time) {
		var s daemon.Status
		for i := range 10 {
			s.Running = append(s.Running, jobs.Progress{Job: fmt.Sprintf("job%02d", i), Step: "transfer", Destination: "usb", Snapshot: "20261123T110000Z", Bytes: bytes, Estimate: 100 << 20, Started: exampleNow})
		}
		w.hear(t.Context(), s, nil, at)
	}
	ask(10<<20, exampleNow.Add(10*time.Second))
	ask(40<<20, exampleNow.Add(20*time.Second))
	for _, size := range [][2]int{{80, 24}, {20, 5}, {200, 60}, {80, 3}} {
		for w.chosen = range w.list {
			lines := w.lines(screen{width: size[0]}, size[1], exampleNow.Add(20*time.Second))
			if len(lines) > size[1] {
				t.Fatalf("%d lines of %d", len(lines), size[1])
			}
			text := strings.Join(lines, "\n")
			if size[1] >= 24 && (!strings.Contains(text, "> "+w.list[w.chosen].Name) || !strings.Contains(text, "JOB ")) {
				t.Fatalf("%s is chosen:\n%s", w.list[w.chosen].Name, text)
			}
			for _, line := range lines {
				if width(line) > size[0] {
					t.Fatalf("%d columns of %d: %q", width(line), size[0], line)
				}
			}
		}
	}
	w.chosen = 0
	text := strings.Join(w.lines(screen{width: 80}, 24, exampleNow.Add(20*time.Second)), "\n")
	for _, want := range []string{
		"job00 → usb: transfer of 20261123T110000Z, in full\n  [########............] 40 %  40.0 MiB of about 100.0 MiB  3.0 MiB/s, 20s left\n", "and 7 more\n", "running 40 %",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// A panic beside the drawing becomes one of the drawing, whose defers restore the terminal.
func TestWatchPanic(t *testing.T) {
	w := &watcher{events: make(chan func())}
	w.background(t.Context(), func() { panic("bad luck") })
	defer func() {
		if v := recover(); v == nil || !strings.Contains(v.(string), "bad luck") {
			t.Errorf("%v", v)
		}
	}()
	(<-w.events)()
}

func TestKeys(t *testing.T) {
	got := keysOf([]byte("s\x1b[Ap\x1bOB\x1b[1;5A\x1b[200~\x03q"))
	if diff := cmp.Diff([]string{"s", keyUp, "p", keyDown, keyUp, "", keyQuit, "q"}, got); diff != "" {
		t.Error(diff)
	}
	for i := range 4 { // cut off
		keysOf([]byte("\x1b[1;"[:i]))
	}
}

func TestShorten(t *testing.T) {
	for _, c := range [][3]any{{"machines", 8, "machines"}, {"machines", 7, "mac…nes"}, {"machines", 2, "ma"}, {"日本語の名前", 7, "日… 前"}, {"e\u0301e\u0301e\u0301e\u0301", 3, "e\u0301…e\u0301"}, {"x", 0, ""}} {
		if got := shorten(c[0].(string), c[1].(int)); got != c[2] {
			t.Errorf("%s in %d: %q, want %q", c[0], c[1], got, c[2])
		}
	}
}
