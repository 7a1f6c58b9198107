package journal

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/jobs"
)

func TestTail(t *testing.T) {
	var out strings.Builder
	tail := NewTail(NewText(&out, slog.LevelInfo, false))
	log := slog.New(tail)
	home := log.With(jobs.KeyJob, "home")
	home.Info("snapshot x", jobs.KeySnapshot, "x")
	log.Warn("about nobody")
	home.WithGroup("g").Error("failed", "n", 1)
	log.Error("about another", jobs.KeyJob, "srv", jobs.KeyHint, "cure")
	home.Debug("not wanted")
	if want := "home: snapshot x\nbtrkeep: warning: about nobody\nbtrkeep: error: home: failed g_n=1\n"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("passed on:\n%s", &out)
	}
	got := tail.Of("home")
	if lines := strings.Split(strings.TrimSpace(got), "\n"); len(lines) != 2 || !strings.HasSuffix(lines[0], " home: snapshot x") || !strings.HasSuffix(lines[1], " btrkeep: error: home: failed g_n=1") {
		t.Errorf("%q", got)
	}
	if got := tail.Of("srv"); !strings.Contains(got, "hint: cure") || strings.Contains(got, "home") {
		t.Errorf("%q", got)
	}
	for i := range 1000 {
		home.Info(fmt.Sprintf("line %d", i))
	}
	got = tail.Of("home")
	if len(got) > tailBytes || len(got) < tailBytes/2 || !strings.HasSuffix(got, "line 999\n") || got[0] != '2' {
		t.Errorf("%d bytes: %q", len(got), got[:min(60, len(got))])
	}
	for i := range 2 * tailJobs {
		log.Info("x", jobs.KeyJob, fmt.Sprint(i))
	}
	if n := len(tail.kept.lines); n > tailJobs {
		t.Errorf("%d jobs", n)
	}
}
