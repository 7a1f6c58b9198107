// Package btrfs speaks to btrfs by ioctl: subvolumes, snapshots, listing, send and receive.
//
// It knows nothing of backup jobs. Calls name the ioctl they make; most need CAP_SYS_ADMIN.
package btrfs

import "errors"

// ErrNotBtrfs means that a path is not on btrfs; ErrNotSubvolume that it is on btrfs but not the root of a subvolume.
var (
	ErrNotBtrfs     = errors.New("not on btrfs")
	ErrNotSubvolume = errors.New("not a subvolume")
)
