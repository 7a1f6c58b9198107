package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/copytree"
)

// files puts files and directories of the snapshot into To, each under the last part of its path.
func (r *restoring) files(ctx context.Context, v version) error {
	to, err := filepath.Abs(r.o.To)
	if err != nil {
		return err
	}
	r.mine.To = to
	stage := r.staging(nearestDir(to), v)
	if v.from != nil { // all of it: a stream cannot be made of some files
		if _, err := btrfs.FileSystemID(stage.dir); err != nil {
			return hintf("restore to a btrfs, where it can be brought to first, or on the machine that has the backup", "%s is on another machine, and %w", v.path, err)
		}
		from, err := stage.bring(ctx)
		if err != nil || r.o.DryRun {
			return err
		}
		defer stage.close()
		v.path = from
	}
	paths, err := r.paths(v)
	if err != nil || r.o.DryRun {
		return err
	}
	if paths[0] != "." {
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
	}
	var left error
	start := time.Now()
	for _, path := range paths {
		dir, name := to, filepath.Base(path)
		if path == "." { // as one: a file may have names all over it
			dir, name = filepath.Dir(to), filepath.Base(to)
		}
		before := r.mine.Bytes
		s, err := copytree.Copy(ctx, v.path, path, dir, name, copytree.Options{
			Overwrite: r.o.Overwrite,
			Progress: func(bytes int64) {
				r.report(Progress{Step: "transfer", Destination: to, Snapshot: v.Name, Bytes: before + bytes, Started: start})
			},
		})
		r.mine.Files, r.mine.Bytes = r.mine.Files+s.Files+s.Others, r.mine.Bytes+s.Bytes
		r.mine.Notes = append(r.mine.Notes, s.Notes...)
		if s.Skipped > 0 {
			r.note("%s: %d subvolumes in it are not in its snapshots", path, s.Skipped)
		}
		var incomplete *copytree.Incomplete
		switch {
		case errors.As(err, &incomplete):
			left = errors.Join(left, err) // what can be brought is brought
		case errors.Is(err, copytree.ErrBusy):
			r.mine.NotNow = true
			return err
		case errors.Is(err, os.ErrExist):
			return hintf("choose another directory, or let it be replaced with --overwrite", "%w", err)
		case err != nil:
			return errors.Join(left, err)
		}
	}
	if left == nil && stage.brought {
		if err := stage.clear(ctx); err != nil {
			r.note("what was brought over stays in %s; the same command again removes it: %v", stage.path, err)
		}
	}
	return left
}

// nearestDir is the directory nearest to a path that exists.
func nearestDir(path string) string {
	for ; path != "/"; path = filepath.Dir(path) {
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			break
		}
	}
	return path
}

// paths are those asked for, relative to the root of the snapshot, which is "." and must be alone.
func (r *restoring) paths(v version) ([]string, error) {
	var paths []string
	names := map[string]string{}
	for _, asked := range r.o.Paths {
		p := r.inSnapshot(asked)
		if p == "." && len(r.o.Paths) > 1 {
			return nil, errors.New("the whole of a snapshot, /, can only be restored alone")
		}
		if other, taken := names[filepath.Base(p)]; taken {
			return nil, fmt.Errorf("%s and %s would both become %s", other, p, filepath.Join(r.mine.To, filepath.Base(p)))
		}
		if _, err := os.Lstat(filepath.Join(v.path, p)); errors.Is(err, os.ErrNotExist) {
			return nil, hintf("`btrkeep find` shows in which snapshots it is", "%s is not in %s", p, v.Name)
		}
		names[filepath.Base(p)] = p
		paths = append(paths, p)
	}
	return paths, nil
}

// inSnapshot is a path as people write it: from the root of the snapshot, or as it is in the source.
func (r *restoring) inSnapshot(path string) string {
	if below, err := filepath.Rel(r.o.Job.Source, path); err == nil && filepath.IsAbs(path) && below != ".." && !strings.HasPrefix(below, "../") && r.o.FromDir == "" {
		return below
	}
	if path = filepath.Join("/", path); path == "/" {
		return "."
	}
	return path[1:]
}
