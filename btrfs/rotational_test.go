package btrfs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
)

// What the kernel says of the disk of a mounted file system; what nobody knows counts as spinning.
func TestRotational(t *testing.T) {
	d := newDisk(t)
	id, err := btrfs.FileSystemID(d)
	ok(t, err)
	device, err := exec.Command("findmnt", "-no", "SOURCE", "--target", d).Output()
	ok(t, err)
	queue := filepath.Join("/sys/block", filepath.Base(strings.TrimSpace(string(device))), "queue/rotational")
	text, err := os.ReadFile(queue)
	ok(t, err)
	if got, want := btrfs.Rotational(id), strings.TrimSpace(string(text)) != "0"; got != want {
		t.Errorf("%v, the kernel says %s", got, text)
	}
	// Where it may be changed, the other answer as well.
	if err := os.WriteFile(queue, []byte(map[bool]string{true: "0", false: "1"}[btrfs.Rotational(id)]), 0); err == nil {
		if btrfs.Rotational(id) == (strings.TrimSpace(string(text)) != "0") {
			t.Error("the same after it was changed")
		}
		_ = os.WriteFile(queue, text, 0)
	}
	if !btrfs.Rotational(btrfs.UUID{1}) {
		t.Error("a file system that is not mounted does not spin")
	}
}
