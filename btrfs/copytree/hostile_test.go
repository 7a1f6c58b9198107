package copytree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

// One at a time; another name is another copy.
func TestBusy(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, func(tree string) {
		write(t, tree+"/a", "a")
		write(t, tree+"/b", "b")
	})
	to, tried := mkdir(t, disk, "to"), false
	_, err := Copy(context.Background(), snapshot, "tree", to, "copy", Options{Progress: func(int64) {
		if tried {
			return
		}
		tried = true
		if _, err := Copy(context.Background(), snapshot, "tree", to, "copy", Options{}); !errors.Is(err, ErrBusy) {
			t.Errorf("error %v, want %v", err, ErrBusy)
		}
		_, err := Copy(context.Background(), snapshot, "tree/a", to, "other", Options{})
		ok(t, err)
	}})
	ok(t, err)
	wantSame(t, snapshot+"/tree", to+"/copy")
}

// What has the name of the hidden directory and was not made by a copy is not touched.
func TestForeignStage(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, func(tree string) { write(t, tree+"/file", "x") })
	precious := mkdir(t, disk, "precious")
	write(t, precious+"/file", "precious")
	for name, plant := range map[string]func(path string) error{
		"link": func(path string) error { return os.Symlink(precious, path) },
		"file": func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"directory": func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.WriteFile(path+"/x", nil, 0o600))
		},
		"subvolume": func(path string) error {
			return errors.Join(btrfs.Create(filepath.Dir(path), filepath.Base(path)), os.Chmod(path, 0o700), os.WriteFile(path+"/x", nil, 0o600))
		},
		"other user's": func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.WriteFile(path+"/"+markName, nil, 0o600), os.Chown(path, 1000, 1000))
		},
		"open": func(path string) error {
			return errors.Join(os.Mkdir(path, 0o755), os.WriteFile(path+"/"+markName, nil, 0o600))
		},
		"marked by another user": func(path string) error {
			mark := path + "/" + markName
			return errors.Join(os.Mkdir(path, 0o700), os.WriteFile(mark, nil, 0o600), os.Chown(mark, 1000, 1000))
		},
	} {
		t.Run(name, func(t *testing.T) {
			to := mkdir(t, disk, "to", name)
			ok(t, plant(to+"/"+stageOf("copy")))
			before := digest(t, to) + digest(t, precious)
			_, err := Copy(context.Background(), snapshot, "tree", to, "copy", Options{})
			wantError(t, err, "it is in the way, and not btrkeep's", stageOf("copy"))
			if digest(t, to)+digest(t, precious) != before {
				t.Error("something has changed")
			}
		})
	}
}

// A directory that was moved to where a stage was just made is no stage, and not marked to be emptied.
func TestStageIsNew(t *testing.T) {
	dir := t.TempDir()
	ok(t, os.Chmod(dir, 0o700))
	write(t, dir+"/file", "precious")
	h, err := openDir(unix.AT_FDCWD, dir, 0)
	ok(t, err)
	defer h.close()
	if err := (&stage{dir: h}).furnish(); !errors.Is(err, errForeign) {
		t.Errorf("error %v, want %v", err, errForeign)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("it holds %q", got)
	}
}

// The owner of the target plays tricks meanwhile: nothing outside is touched, and nothing of his own that is no part of the copy.
func TestHostileTarget(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, func(tree string) {
		for i := range 40 {
			write(t, mkdir(t, tree, "dir", fmt.Sprint(i))+"/file", "secret")
		}
	})
	outside, to := mkdir(t, disk, "outside"), mkdir(t, disk, "to")
	ok(t, os.Chmod(write(t, outside+"/file", "precious"), 0o600))
	mkdir(t, outside, "dir")
	// A directory of root in the hands of another user, who may rename it.
	write(t, mkdir(t, to, "of root")+"/file", "precious")
	ok(t, os.Chmod(to+"/of root", 0o700))
	before := digest(t, outside)

	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		stage, aside := to+"/"+stageOf("copy"), to+"/aside"
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			dir := fmt.Sprintf("%s/copy/dir/%d", to, i%40)
			// Errors are what there is to expect: the two get in each other's way.
			switch i % 4 {
			case 0:
				if os.Rename(dir, aside) == nil {
					_ = os.Symlink(outside, dir)
					_ = os.Remove(dir)
					_ = os.Rename(aside, dir)
				}
			case 1:
				_ = os.Remove(dir + "/file")
				_ = os.Symlink(outside+"/file", dir+"/file")
			case 2:
				if os.Rename(stage, aside) == nil {
					_ = os.Symlink(outside, stage)
					_ = os.Remove(stage)
					_ = os.Rename(aside, stage)
				}
			case 3:
				if os.Rename(stage, aside) == nil {
					_ = os.Rename(to+"/of root", stage)
					_ = os.Rename(stage, to+"/of root")
					_ = os.Rename(aside, stage)
				}
			}
			_ = os.RemoveAll(aside)
		}
	}()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		_, _ = Copy(context.Background(), snapshot, "tree", to, "copy", Options{Overwrite: true})
	}
	close(stop)
	<-stopped
	if digest(t, outside) != before {
		t.Error("something outside has changed")
	}
	found := false
	for _, name := range names(t, to) {
		if b, err := os.ReadFile(to + "/" + name + "/file"); err == nil && string(b) == "precious" {
			found = true
		}
	}
	if !found {
		t.Error("the directory of root has lost its content")
	}
}
