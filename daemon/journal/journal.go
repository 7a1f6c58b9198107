// Package journal writes btrkeep's log: to systemd's journal with its structured fields where standard error goes there,
// and as plain lines for people everywhere else. Both show the same text.
package journal

import (
	"io"
	"log/slog"
	"os"

	sd "github.com/coreos/go-systemd/v22/journal"
)

// New is the handler for a log to w: [Handler] if w is standard error and systemd connected that to the journal, else [Text].
// times says whether lines of text begin with the time; the journal has its own.
func New(w *os.File, level slog.Leveler, times bool) slog.Handler {
	if w == os.Stderr {
		// A malformed $JOURNAL_STREAM is as good as none.
		if ok, err := sd.StderrIsJournalStream(); err == nil && ok {
			return NewHandler(w, level)
		}
	}
	return NewText(w, level, times)
}

// NewHandler sends to the journal, and writes to fallback what the journal does not take.
func NewHandler(fallback io.Writer, level slog.Leveler) *Handler {
	return &Handler{Level: level, Send: sd.Send, Fallback: NewText(fallback, level, false)}
}
