package btrfs

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// WaitDeleted waits until the deleted subvolumes queued now on path's file system are gone (or ctx ends).
// BTRFS_IOC_SUBVOL_SYNC_WAIT, kernel 6.13; before that by polling the root tree.
//
// It commits first, which also wakes the cleaner. Before 6.13 it waits for those too that someone holds open.
func WaitDeleted(ctx context.Context, path string) error {
	fd, _, err := openDir(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := commit(fd, path); err != nil {
		return err
	}
	waiting, err := queuedForDeletion(fd)
	if err == nil {
		err = pollUntilEmpty(ctx, waiting, func(ids []uint64) ([]uint64, error) { return stillInTree(fd, ids) })
	}
	if err != nil {
		return fmt.Errorf("wait for the cleaner on %s: %w", path, err)
	}
	return nil
}

// pollUntilEmpty looks now and then which of the ids are left: the waiting modes of the ioctl cannot be interrupted by ctx.
func pollUntilEmpty(ctx context.Context, ids []uint64, left func([]uint64) ([]uint64, error)) error {
	for pause := 20 * time.Millisecond; len(ids) > 0; pause = min(2*pause, time.Second) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		var err error
		if ids, err = left(ids); err != nil {
			return err
		}
	}
	return nil
}

// queuedForDeletion gives ids whose going means that all that are queued now have gone.
func queuedForDeletion(fd int) ([]uint64, error) {
	last := subvolWait{mode: syncWaitPeekLast}
	err := ioctl(fd, iocSubvolSyncWait, unsafe.Pointer(&last))
	switch {
	case err == nil: // the cleaner takes them in the order of the queue
		return []uint64{last.subvolid}, nil
	case errors.Is(err, unix.ENOENT):
		return nil, nil
	case !errors.Is(err, unix.ENOTTY):
		return nil, fmt.Errorf("BTRFS_IOC_SUBVOL_SYNC_WAIT: %w", err)
	}
	return deletedSubvolumes(fd, rootDirInode, lastFreeObjectID)
}

func deletedSubvolumes(fd int, minID, maxID uint64) ([]uint64, error) {
	var ids []uint64
	for it, err := range search(fd, rootTreeKey(minID, maxID)) {
		if err != nil {
			return nil, err
		}
		if it.typ != rootItemKey {
			continue
		}
		if _, live := decodeRootItem(it.data); !live {
			ids = append(ids, it.objectID)
		}
	}
	return ids, nil
}

// stillInTree gives those of the ids, in ascending order, that the root tree still has.
func stillInTree(fd int, ids []uint64) ([]uint64, error) {
	present, err := deletedSubvolumes(fd, ids[0], ids[len(ids)-1])
	if err != nil {
		return nil, err
	}
	var left []uint64
	for _, id := range ids {
		for len(present) > 0 && present[0] < id {
			present = present[1:]
		}
		if len(present) > 0 && present[0] == id {
			left = append(left, id)
		}
	}
	return left, nil
}
