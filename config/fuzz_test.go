package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

// FuzzLoad holds that whatever a file contains, it is either a configuration that keeps what the types promise,
// or a list of mistakes in it, in order, each at a place that exists.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*.toml", "testdata/mistakes/*.toml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 16<<10 {
			return
		}
		c, err := load([]source{{"fuzz.toml", text}}, noEnv)
		if err == nil {
			checkPromises(t, c)
			return
		}
		var list Errors
		if c != nil || !errors.As(err, &list) || len(list) == 0 {
			t.Fatalf("load = %v, %v", c, err)
		}
		checkPositions(t, list, strings.Count(text, "\n")+1)
	})
}

func checkPositions(t *testing.T, list Errors, lines int) {
	t.Helper()
	last := &Error{}
	for _, e := range list {
		if strings.HasPrefix(e.Msg, "too many mistakes") {
			continue
		}
		switch {
		case e.File != "fuzz.toml" || e.Msg == "" || e.Hint == "":
			t.Errorf("incomplete: %#v", e)
		case e.Line < 1 || e.Line > lines || e.Column < 1 || e.Column > len([]rune(e.Text))+1:
			t.Errorf("no such place: %#v", e)
		case e.Line < last.Line || e.Line == last.Line && e.Column < last.Column:
			t.Errorf("out of order: %#v after %#v", e, last)
		case strings.ContainsFunc(e.Error(), func(r rune) bool { return unicode.IsControl(r) && r != '\t' && r != '\n' }):
			t.Errorf("control characters: %q", e.Error())
		}
		last = e
	}
}

func checkPromises(t *testing.T, c *Config) {
	t.Helper()
	absolute := func(path string) {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.Contains(path, "\x00") {
			t.Errorf("path %q", path)
		}
	}
	if c.Timezone == nil || c.Parallel < 1 || c.Checkpoint.Bytes < 1 || c.Checkpoint.Time < 1 {
		t.Errorf("%+v", c)
	}
	absolute(c.StateDir)
	absolute(c.RuntimeDir)
	destinations, snapshots := map[string]bool{}, map[string]bool{}
	last := ""
	for _, j := range c.Jobs {
		absolute(j.SnapshotDir)
		if j.Received != "" {
			absolute(j.Received)
			if j.Source != "" || len(j.Destinations) != 1 || j.Destinations[0].URL != j.Received || j.Keep == (Keep{}) {
				t.Errorf("%+v", j)
			}
			last = j.Name
			continue
		}
		absolute(j.SourcePath())
		dir := at(j.Source, j.SnapshotDir)
		if j.Name <= last || snapshots[dir] || len(j.Destinations) == 0 || j.Jitter < 0 || j.Timeout < 0 || j.StallTimeout < leastStall {
			t.Errorf("%+v", j)
		}
		if v := j.Verify; v.Sample < 0 || v.Sample > 100 || v.MaxTime < 0 || v.Deep && v.Sample > 0 || v.Schedule.IsZero() && v != (Verify{}) {
			t.Errorf("%+v", j)
		}
		has := func(d Destination) bool { return d.Name == j.Drill.Destination }
		if name := j.Drill.Destination; name != "" && (j.Drill.Schedule.IsZero() || !slices.ContainsFunc(j.Destinations, has)) {
			t.Errorf("%+v", j)
		}
		last = j.Name
		snapshots[dir] = true
		for _, d := range j.Destinations {
			absolute(pathOf(d.URL))
			if destinations[d.URL] || d.Name == "" || d.MaxAge < 0 || d.URL == j.Source || d.Local() == isSSH(d.URL) {
				t.Errorf("%+v", d)
			}
			destinations[d.URL] = true
			checkRate(t, d.RateLimit)
		}
	}
}

// checkRate goes through a day: each minute has one limit.
func checkRate(t *testing.T, r Rate) {
	t.Helper()
	for clock := time.Duration(0); clock < 24*time.Hour; clock += time.Minute {
		in := 0
		for _, w := range r.Windows {
			if w.holds(clock) {
				in++
			}
		}
		if in > 1 {
			t.Errorf("%d rates at %s: %v", in, clock, r.Windows)
		}
	}
	if r.Default < 0 || len(r.Windows) > 0 && r.Zone == nil {
		t.Errorf("%+v", r)
	}
}
