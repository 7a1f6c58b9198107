package journal

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"github.com/btrkeep/btrkeep/jobs"
)

const (
	// tailBytes is how much is kept of each job's lines.
	tailBytes = 10_000

	// tailJobs is of how many jobs: names come and go with the configuration.
	tailJobs = 1000
)

// Tail is a handler that keeps the last lines about each job, and passes everything on to another one.
type Tail struct {
	next  slog.Handler
	scope scope
	kept  *kept
}

var _ slog.Handler = (*Tail)(nil)

// kept is shared by a handler and those derived from it.
type kept struct {
	mu    sync.Mutex
	lines map[string][]byte // by job
}

// NewTail passes everything on to next.
func NewTail(next slog.Handler) *Tail {
	return &Tail{next: next, kept: &kept{lines: map[string][]byte{}}}
}

// Of is what was logged last about a job: at most 10 kB, in whole lines, each with its time.
func (t *Tail) Of(job string) string {
	t.kept.mu.Lock()
	defer t.kept.mu.Unlock()
	return string(t.kept.lines[job])
}

// Enabled is that of the other handler.
func (t *Tail) Enabled(ctx context.Context, level slog.Level) bool { return t.next.Enabled(ctx, level) }

// Handle keeps a record that is about a job.
func (t *Tail) Handle(ctx context.Context, r slog.Record) error {
	fields := t.scope.all(r)
	for _, f := range fields {
		if f.name == jobs.KeyJob {
			t.kept.add(f.text(), render(r, fields, true))
		}
	}
	return t.next.Handle(ctx, r)
}

func (k *kept) add(job, text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	lines, known := k.lines[job]
	if !known && len(k.lines) >= tailJobs {
		clear(k.lines)
	}
	lines = append(lines, text...)
	if over := len(lines) - tailBytes; over > 0 {
		rest := string(lines[over:])
		_, rest, _ = strings.Cut(rest, "\n")
		lines = []byte(rest)
	}
	k.lines[job] = lines
}

// WithAttrs is the handler with attributes for every record.
func (t *Tail) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Tail{next: t.next.WithAttrs(attrs), scope: t.scope.withAttrs(attrs), kept: t.kept}
}

// WithGroup is the handler with a group around what follows.
func (t *Tail) WithGroup(name string) slog.Handler {
	return &Tail{next: t.next.WithGroup(name), scope: t.scope.withGroup(name), kept: t.kept}
}
