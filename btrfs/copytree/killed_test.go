package copytree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// Killed at any moment, a copy is whole or not there, and the next one succeeds.
func TestKilled(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, func(tree string) { testdisk.Tree(t, tree, testdisk.Spec{Files: 20, MaxSize: 1 << 20}) })
	for name, dir := range map[string]string{"same": mkdir(t, disk, "to"), "other": newDisk(t)} {
		t.Run(name, func(t *testing.T) {
			cmd, began := child(snapshot, "tree", dir, "copy", ""), time.Now()
			ok(t, cmd.Run())
			took := time.Since(began)
			ok(t, os.RemoveAll(dir+"/copy"))
			leftovers := 0
			testdisk.KillLoop(t, testdisk.Kills{Command: cmd.Args, Env: cmd.Env, Rounds: 25, Max: took, Seed: 1, Check: func(testdisk.Killed) error {
				leftovers += len(stagesIn(t, dir))
				if _, err := os.Lstat(dir + "/copy"); errors.Is(err, fs.ErrNotExist) {
					copyOK(t, snapshot, "tree", dir, "copy", Options{})
				}
				diffs, err := testdisk.CompareExact(snapshot+"/tree", dir+"/copy")
				if len(diffs) > 0 {
					return fmt.Errorf("half a copy: %q", diffs)
				}
				// What was killed behind the renaming is swept by a copy that is refused.
				if _, err := Copy(context.Background(), snapshot, "tree", dir, "copy", Options{}); !errors.Is(err, fs.ErrExist) {
					return err
				}
				wantNoStage(t, dir)
				return errors.Join(err, os.RemoveAll(dir+"/copy"))
			}})
			if leftovers == 0 {
				t.Error("no copy was killed at work")
			}
		})
	}
}

// Killed while it replaces files, it leaves each of them old or new, and the next one ends it.
func TestKilledOverwriting(t *testing.T) {
	disk := newDisk(t)
	const files = 500
	fill := func(dir, what string) {
		for i := range files {
			write(t, mkdir(t, dir, fmt.Sprint(i%7))+"/"+fmt.Sprint(i), strings.Repeat(what, 10))
		}
	}
	snapshot := subvolume(t, disk, func(tree string) { fill(tree, "new") })
	dir := newDisk(t)
	fill(dir+"/copy", "old")
	cmd, began := child(snapshot, "tree", dir, "copy", "overwrite"), time.Now()
	ok(t, cmd.Run())
	took, mixed := time.Since(began), 0
	fill(dir+"/copy", "old")
	testdisk.KillLoop(t, testdisk.Kills{Command: cmd.Args, Env: cmd.Env, Rounds: 20, Max: took, Seed: 1, Check: func(testdisk.Killed) error {
		replaced := 0
		for i := range files {
			switch what := content(t, fmt.Sprintf("%s/copy/%d/%d", dir, i%7, i)); what {
			case strings.Repeat("new", 10):
				replaced++
			case strings.Repeat("old", 10):
			default:
				return fmt.Errorf("file %d is neither old nor new: %d bytes", i, len(what))
			}
		}
		if replaced > 0 && replaced < files {
			mixed++
		}
		copyOK(t, snapshot, "tree", dir, "copy", Options{Overwrite: true})
		wantSame(t, snapshot+"/tree", dir+"/copy")
		fill(dir+"/copy", "old")
		return nil
	}})
	t.Logf("%d were killed among the renamings", mixed)
}

// Once a copy has succeeded, a power cut takes nothing of it; and at no moment half.
func TestPowerCut(t *testing.T) {
	snapshot := subvolume(t, newDisk(t), func(tree string) { testdisk.Tree(t, tree, testdisk.Spec{Files: 20, MaxSize: 1 << 20}) })
	disk := testdisk.NewFaulty(t, testdisk.Options{})
	check := func(seed uint64, whole bool) {
		t.Helper()
		image := filepath.Join(t.TempDir(), "cut.img")
		disk.PowerCut(image, seed, 0.5)
		after := testdisk.MountImage(t, image)
		defer after.Close()
		if _, err := os.Lstat(after.Path + "/copy"); err == nil || whole {
			wantSame(t, snapshot+"/tree", after.Path+"/copy")
		}
	}
	done := make(chan error, 1)
	go func() {
		_, err := Copy(context.Background(), snapshot, "tree", disk.Path, "copy", Options{})
		done <- err
	}()
	for seed := uint64(0); ; seed++ {
		check(seed, false)
		select {
		case err := <-done:
			ok(t, err)
			check(seed, true)
			return
		default:
		}
	}
}
