package jobs_test

import (
	"testing"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func TestSecondTransferIsIncrementalAndIdentical(t *testing.T) {
	w := newWorld(t, 1)
	testdisk.Tree(t, w.source(), testdisk.Spec{Seed: 1, Files: 3000, MaxSize: 128 << 10})
	first := w.mustRun()
	if tr := transfer(t, first, "d1"); tr.Parent != "" || tr.Bytes == 0 {
		t.Errorf("first transfer is not full: %+v", tr)
	}
	must(t, testdisk.Mutate(w.source(), 2, 1000))
	second := w.mustRun()
	tr := transfer(t, second, "d1")
	if tr.Parent != first.Snapshot {
		t.Errorf("second transfer is against %q, want %q", tr.Parent, first.Snapshot)
	}
	if full := transfer(t, first, "d1").Bytes; tr.Bytes >= full {
		t.Errorf("second transfer of %d bytes is not smaller than the first of %d", tr.Bytes, full)
	}
	w.verify()
	if got := w.complete(0); len(got) != 2 {
		t.Errorf("complete backups: %v", got)
	}
}
