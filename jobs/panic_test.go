package jobs_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/local"
)

// mistaken is a receiver with a mistake in what its thread calls.
type mistaken struct{ local.Native }

func (m mistaken) Receive(ctx context.Context, dir, name string, in jobs.Incoming, disk local.Disk) error {
	return m.Native.Receive(ctx, dir, name, in, badDisk{disk})
}

type badDisk struct{ local.Disk }

func (badDisk) Sync() error { panic("a mistake") }

// A panic while a stream is received fails that transfer. The record says what to do, and the log alone where it was.
func TestMistakeInReceiver(t *testing.T) {
	w := newResuming(t, 1)
	w.write("file", "1")
	w.runner.Open = local.Opener{Zone: time.UTC, Receiver: mistaken{local.Native{Checkpoint: w.cfg.Checkpoint}}}.Open
	r := w.run()
	if tr := transfer(t, r, "d1"); tr.Result != jobs.ResultFailed || !strings.Contains(tr.Error, "a mistake") || tr.Hint != jobs.PanicHint {
		t.Errorf("%+v", tr)
	}
	b, err := json.Marshal(r)
	must(t, err)
	if strings.Contains(string(b), "badDisk") || !strings.Contains(w.log.String(), "badDisk") {
		t.Errorf("%s\n%s", b, w.log.String())
	}
	w.dropAfter(-1)
	w.mustRun()
	w.verify()
}
