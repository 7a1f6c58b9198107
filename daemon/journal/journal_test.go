package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/slogtest"
	"time"

	sd "github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
)

// sent is one message as journald would get it.
type sent struct {
	Message  string
	Priority sd.Priority
	Fields   map[string]string
}

func capture(level slog.Level) (*slog.Logger, *[]sent) {
	var all []sent
	return slog.New(&Handler{Level: level, Send: func(message string, p sd.Priority, fields map[string]string) error {
		all = append(all, sent{message, p, fields})
		return nil
	}}), &all
}

type secret struct{}

func (secret) LogValue() slog.Value { return slog.StringValue("hidden") }

func TestHandler(t *testing.T) {
	at := time.Date(2026, 11, 23, 11, 56, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		log  func(*slog.Logger)
		want sent
	}{
		{"the runner's fields", func(l *slog.Logger) {
			l.With("job", "home").Info("usb: 20261123T115600Z complete (in full, 1234 bytes)", "destination", "usb", "snapshot", "20261123T115600Z", "bytes", 1234, "parent", "", "message_id", "0c1d")
		}, sent{"home: usb: 20261123T115600Z complete (in full, 1234 bytes)", sd.PriInfo, map[string]string{
			"BTRKEEP_JOB": "home", "BTRKEEP_DESTINATION": "usb", "BTRKEEP_SNAPSHOT": "20261123T115600Z", "BTRKEEP_BYTES": "1234", "BTRKEEP_PARENT": "", "MESSAGE_ID": "0c1d",
		}}},
		{"error and hint", func(l *slog.Logger) {
			l.Error("failed in 3s", "job", "home", "error", errors.New("usb: no space left on device"), "hint", "get a larger disk")
		}, sent{"home: failed in 3s: usb: no space left on device\nhint: get a larger disk", sd.PriErr, map[string]string{
			"BTRKEEP_JOB": "home", "BTRKEEP_ERROR": "usb: no space left on device", "BTRKEEP_HINT": "get a larger disk",
		}}},
		{"lines", func(l *slog.Logger) { l.Warn("one\ntwo", "names", "a\nb") }, sent{"one\ntwo names=\"a\\nb\"", sd.PriWarning, map[string]string{"BTRKEEP_NAMES": "a\nb"}}},
		{"groups", func(l *slog.Logger) {
			l.With("top", 1).WithGroup("disk").With("free", 2).WithGroup("io").Debug("m", "read", 3, slog.Group("", "inline", 4), slog.Group("deep", "er", 5), slog.Group("none"), slog.Attr{})
		}, sent{"m top=1 disk_free=2 disk_io_read=3 disk_io_inline=4 disk_io_deep_er=5", sd.PriDebug, map[string]string{
			"BTRKEEP_TOP": "1", "BTRKEEP_DISK_FREE": "2", "BTRKEEP_DISK_IO_READ": "3", "BTRKEEP_DISK_IO_INLINE": "4", "BTRKEEP_DISK_IO_DEEP_ER": "5",
		}}},
		{"kinds", func(l *slog.Logger) {
			l.Log(context.Background(), slog.LevelInfo+2, "m", "t", at, "d", 90*time.Second, "s", secret{}, "list", []string{"x", "y"}, "resumed-bytes", 7)
		}, sent{`m t=2026-11-23T11:56:00Z d=1m30s s=hidden list="[x y]" resumed-bytes=7`, sd.PriNotice, map[string]string{
			"BTRKEEP_T": "2026-11-23T11:56:00Z", "BTRKEEP_D": "1m30s", "BTRKEEP_S": "hidden", "BTRKEEP_LIST": "[x y]", "BTRKEEP_RESUMED_BYTES": "7",
		}}},
	} {
		log, got := capture(slog.LevelDebug)
		c.log(log)
		c.want.Fields["SYSLOG_IDENTIFIER"] = "btrkeep"
		if diff := cmp.Diff([]sent{c.want}, *got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// Handlers made from one another do not share what was added later.
func TestHandlerWith(t *testing.T) {
	log, got := capture(slog.LevelInfo)
	base := log.With("a", 1, "b", 2, "c", 3)
	one, two := base.With("x", 1), base.With("y", 2)
	one.Info("one")
	two.Info("two")
	base.Info("three")
	base.Debug("not this")
	var texts []string
	for _, s := range *got {
		texts = append(texts, s.Message)
	}
	if diff := cmp.Diff([]string{"one a=1 b=2 c=3 x=1", "two a=1 b=2 c=3 y=2", "three a=1 b=2 c=3"}, texts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestVariable(t *testing.T) {
	for name, want := range map[string]string{
		"job": "BTRKEEP_JOB", "message_id": "MESSAGE_ID", "größe": "BTRKEEP_GR__E", "a.b c": "BTRKEEP_A_B_C", "_x": "BTRKEEP__X",
		strings.Repeat("n", 100): "BTRKEEP_" + strings.Repeat("N", 56),
	} {
		if got := variable(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// What journald does not take is not lost.
func TestFallback(t *testing.T) {
	var out bytes.Buffer
	h := NewHandler(&out, slog.LevelInfo)
	h.Send = func(string, sd.Priority, map[string]string) error { return errors.New("connection refused") }
	slog.New(h).With("job", "home").Error("failed", "error", "why")
	if got, want := out.String(), "btrkeep: error: home: failed: why\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestText(t *testing.T) {
	at := time.Date(2026, 11, 23, 11, 56, 0, 0, time.Local)
	for _, c := range []struct {
		name  string
		times bool
		level slog.Level
		text  string
		attrs []any
		want  string
	}{
		{"the message tells all", false, slog.LevelInfo, "snapshot 20261123T115600Z", []any{"job", "home", "snapshot", "20261123T115600Z", "message_id", "x"}, "home: snapshot 20261123T115600Z\n"},
		{"it does not", false, slog.LevelInfo, "ok in 312ms", []any{"job", "home", "result", "ok", "snapshot", "20261123T115600Z", "seconds", 0.312}, "home: ok in 312ms snapshot=20261123T115600Z seconds=0.312\n"},
		{"not within a word", false, slog.LevelInfo, "wants 12", []any{"a", "ants", "b", 2}, "wants 12 a=ants b=2\n"},
		{"times", true, slog.LevelWarn, "late", nil, "2026-11-23 11:56:00 btrkeep: warning: late\n"},
		{"hint", true, slog.LevelError, "broken", []any{"error", "it broke", "hint", "mend it"}, "2026-11-23 11:56:00 btrkeep: error: broken: it broke\n2026-11-23 11:56:00 btrkeep: hint: mend it\n"},
		{"quotes", false, slog.LevelInfo, "m", []any{"path", "/a b", "eq", "x=y", "nl", "a\nb", "none", "", "uml", "ö"}, `m path="/a b" eq="x=y" nl="a\nb" uml=ö` + "\n"},
		{"the job is told", false, slog.LevelInfo, "home: removed", []any{"job", "home"}, "home: removed\n"},
	} {
		var out bytes.Buffer
		h := NewText(&out, slog.LevelInfo, c.times)
		r := slog.NewRecord(at, c.level, c.text, 0)
		r.Add(c.attrs...)
		if err := h.Handle(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if out.String() != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, out.String(), c.want)
		}
	}
}

// nested records what a handler makes of attributes as slogtest wants to see it. Its keys have one letter, so that names can be taken apart again.
type nested struct {
	scope
	all *[]map[string]any
}

func (n nested) Enabled(context.Context, slog.Level) bool { return true }
func (n nested) WithAttrs(attrs []slog.Attr) slog.Handler { n.scope = n.withAttrs(attrs); return n }
func (n nested) WithGroup(name string) slog.Handler       { n.scope = n.withGroup(name); return n }
func (n nested) Handle(_ context.Context, r slog.Record) error {
	top := map[string]any{slog.LevelKey: r.Level, slog.MessageKey: r.Message}
	if !r.Time.IsZero() {
		top[slog.TimeKey] = r.Time
	}
	for _, f := range n.scope.all(r) {
		at, path := top, strings.Split(f.name, "_")
		for _, group := range path[:len(path)-1] {
			if at[group] == nil {
				at[group] = map[string]any{}
			}
			at = at[group].(map[string]any)
		}
		at[path[len(path)-1]] = f.value.Any()
	}
	*n.all = append(*n.all, top)
	return nil
}

func TestScope(t *testing.T) {
	var all []map[string]any
	if err := slogtest.TestHandler(nested{all: &all}, func() []map[string]any { return all }); err != nil {
		t.Error(err)
	}
}

func TestNew(t *testing.T) {
	for _, c := range []struct{ stream, want string }{{"", "*journal.Text"}, {"nonsense", "*journal.Text"}, {"1:2", "*journal.Text"}, {stderrStream(t), "*journal.Handler"}} {
		t.Setenv("JOURNAL_STREAM", c.stream)
		if got := fmt.Sprintf("%T", New(os.Stderr, slog.LevelInfo, false)); got != c.want {
			t.Errorf("JOURNAL_STREAM=%s: %s, want %s", c.stream, got, c.want)
		}
	}
	other, err := os.Create(filepath.Join(t.TempDir(), "other"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if got := fmt.Sprintf("%T", New(other, slog.LevelInfo, false)); got != "*journal.Text" {
		t.Errorf("another file: %s", got)
	}
}

// stderrStream is what systemd would set if standard error were its stream.
func stderrStream(t *testing.T) string {
	var st syscall.Stat_t
	if err := syscall.Fstat(2, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
