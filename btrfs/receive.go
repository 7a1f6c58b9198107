package btrfs

import (
	"context"
	"errors"
	"io"
)

// A Receiver applies a send stream.
//
// Receive reads one stream whose subvolume is called name (the caller has checked and rewritten it: see sendstream.Tap) and leaves it in dir,
// read-only, with its received UUID. It does not sync. On error it leaves nothing behind that is read-only and has a received UUID; a
// writable leftover called name may remain, the caller deletes it.
// ErrParentMissing and ErrCloneSource tell what another choice of parents could cure.
type Receiver interface {
	Receive(ctx context.Context, dir, name string, stream io.Reader) error
}

// What a receiver may find wrong with the choice of parents.
var (
	ErrParentMissing = errors.New("the parent is not at the destination")
	ErrCloneSource   = errors.New("a clone source is not at the destination")
)
