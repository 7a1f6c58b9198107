package journal

import (
	"context"
	"log/slog"
	"strings"

	sd "github.com/coreos/go-systemd/v22/journal"

	"github.com/btrkeep/btrkeep/jobs"
)

// Handler is a slog.Handler that sends to journald by its native protocol: `journalctl BTRKEEP_JOB=home` finds the lines of a job.
//
// An attribute is the field BTRKEEP_ and its key in capitals, groups joined by _; "message_id" is MESSAGE_ID.
type Handler struct {
	Level    slog.Leveler
	Send     func(message string, priority sd.Priority, fields map[string]string) error
	Fallback *Text // where a line goes that Send refuses: while journald restarts nothing must be lost

	scope scope
}

var _ slog.Handler = (*Handler)(nil)

// Enabled reports whether level is wanted.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.Level.Level() }

// Handle sends one record.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	fields := h.scope.all(r)
	l := line(r.Message, fields)
	message := l.text
	if l.hint != "" {
		message += "\nhint: " + l.hint
	}
	err := h.Send(message, priority(r.Level), variables(fields))
	if err != nil && h.Fallback != nil {
		return h.Fallback.write(r, fields)
	}
	return err
}

// WithAttrs is the handler with attributes for every record.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.scope = h.scope.withAttrs(attrs)
	return &with
}

// WithGroup is the handler with a group around what follows.
func (h *Handler) WithGroup(name string) slog.Handler {
	with := *h
	with.scope = h.scope.withGroup(name)
	return &with
}

// priority is a level in syslog's terms.
func priority(level slog.Level) sd.Priority {
	switch {
	case level >= slog.LevelError:
		return sd.PriErr
	case level >= slog.LevelWarn:
		return sd.PriWarning
	case level > slog.LevelInfo:
		return sd.PriNotice
	case level == slog.LevelInfo:
		return sd.PriInfo
	default:
		return sd.PriDebug
	}
}

// variables are the journal's fields. The native protocol has no SYSLOG_IDENTIFIER of itself, which `journalctl -t` looks for.
func variables(fields []field) map[string]string {
	vars := map[string]string{"SYSLOG_IDENTIFIER": "btrkeep"}
	for _, f := range fields {
		vars[variable(f.name)] = f.text()
	}
	return vars
}

// maxVariable is how long journald lets the name of a field be.
const maxVariable = 64

// variable is the name of a field: journald takes capitals, digits and _.
func variable(name string) string {
	if name == jobs.KeyEvent {
		return "MESSAGE_ID"
	}
	upper := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		default:
			return '_'
		}
	}, name)
	upper = "BTRKEEP_" + upper
	return upper[:min(len(upper), maxVariable)]
}
