package serve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

// within refuses a path of a destination that is not in a root, or gets there by anything but plain directories of whoever set this up: a symbolic link, a hidden directory, or something that was
// received.
func (s *Server) within(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0) {
		return refused("", "%q is no absolute, plain path", path)
	}
	if s.o.Trusted {
		return nil
	}
	roots := s.above(path)
	if len(roots) == 0 {
		hint := "this key may use nothing here as a destination"
		if len(s.o.Roots) > 0 {
			hint = "this key is bound to " + strings.Join(s.o.Roots, ", ")
		}
		return refused(hint, "%q is outside of what this key may use", path)
	}
	return plain(roots[0], strings.TrimPrefix(strings.TrimPrefix(path, roots[0]), "/"))
}

// above are the roots that a path is in.
func (s *Server) above(path string) []string {
	return slices.DeleteFunc(slices.Clone(s.o.Roots), func(root string) bool {
		return path != root && !strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/")
	})
}

// top is the outermost root that a path is in; "" for none, as where there are no roots.
func (s *Server) top(path string) (top string) {
	for _, root := range s.above(path) {
		if top == "" || len(root) < len(top) {
			top = root
		}
	}
	return top
}

// plain walks from root down to path as far as that exists.
func plain(root, path string) error {
	at, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", root, err)
	}
	defer func() { unix.Close(at) }()
	missing := ""
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		if missing != "" { // else something could appear there meanwhile that leads elsewhere
			return refused("make it first", "%q does not exist", missing)
		}
		if strings.HasPrefix(name, ".btrkeep") {
			return refused("", "%q is btrkeep's own", name)
		}
		next, err := unix.Openat2(at, name, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
		})
		switch {
		case errors.Is(err, unix.ENOENT):
			missing = name // the last one will be made
			continue
		case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
			return refused("", "%q is not a directory", name)
		case err != nil:
			return &os.PathError{Op: "openat2", Path: name, Err: err}
		}
		unix.Close(at)
		at = next
		if err := notReceived(at, name); err != nil {
			return err
		}
	}
	return nil
}

// notReceived refuses the root of a subvolume whose content came from a client: there may be anything in it.
func notReceived(fd int, name string) error {
	sub, err := btrfs.Info(fmt.Sprintf("/proc/self/fd/%d", fd))
	switch {
	case errors.Is(err, btrfs.ErrNotSubvolume), errors.Is(err, btrfs.ErrNotBtrfs):
		return nil
	case err != nil:
		return err
	case sub.ReadOnly || !sub.ReceivedUUID.IsZero():
		return refused("", "%q is a backup", name)
	}
	return nil
}

// source refuses a source that is not one of those named, and a directory for snapshots that is not its default one.
func (s *Server) source(path, snapshots string) error {
	switch {
	case !s.o.Can.Source:
		return refused("`btrkeep serve --source PATH` lets it", "this key may send no sources")
	case !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0):
		return refused("", "%q is no absolute, plain path", path)
	case s.o.Trusted:
		return nil
	case !slices.Contains(s.o.Sources, path):
		return refused("this key is bound to "+strings.Join(s.o.Sources, ", "), "%q is not a source that this key may send", path)
	case snapshots != defaultSnapshots(path):
		return refused("leave snapshot_dir out, or use a key that is not confined", "snapshots of %q may only be in %q", path, defaultSnapshots(path))
	}
	return nil
}
