package btrfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrInUse means that somebody reads the subvolume ([Hold]).
var ErrInUse = errors.New("it is being read")

// Hold keeps a subvolume from being deleted by [Delete], in this process and in others, until release is called or the process ends. It fails
// with ErrInUse while the subvolume is being deleted. The subvolume's UUID must be id: between a listing and the hold another one may have taken the name.
//
// It is a shared flock(2) on the root directory, which works where nothing can be written, leaves nothing behind, and is respected by those who ask for it; the
// kernel itself deletes what is open.
func Hold(path string, id UUID) (release func(), err error) {
	fd, err := openSubvolume(path)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err == nil {
		var s Subvolume
		if s, err = describe(fd, path); err == nil && s.UUID != id {
			err = fmt.Errorf("it is another subvolume: its UUID is %s, not %s", s.UUID, id)
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("hold %s: %w", path, err)
	}
	return func() { unix.Close(fd) }, nil
}
