package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
)

// part runs a part of btrkeep that is no program, so that its time can be told as that of one: bench runs itself for it.
//
//	bench receive [-together] [-unsynced] [-bare] DIR STREAM…
//	bench send [-parent ID] [-proto N] [-compressed] [-ahead BYTES] SNAPSHOT
func part(args []string) (done bool) {
	if len(args) == 0 {
		return false
	}
	var run func(context.Context, []string) error
	switch args[0] {
	case "receive":
		run = receiveParts
	case "send":
		run = sendPart
	default:
		return false
	}
	if err := run(context.Background(), args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", strings.Join(args, " "), err)
		os.Exit(1)
	}
	return true
}

// receiveParts receives streams from files, each until it is on the disk.
func receiveParts(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("receive", flag.ExitOnError)
	together := f.Bool("together", false, "all at the same time")
	unsynced := f.Bool("unsynced", false, "leave the data to the kernel")
	bare := f.Bool("bare", false, "by the bare system calls")
	_ = f.Parse(args)
	r, streams := receiving{dir: f.Arg(0), synced: !*unsynced, bare: *bare}, f.Args()[1:]
	errs := make([]error, len(streams))
	var running sync.WaitGroup
	for i, stream := range streams {
		running.Go(func() { errs[i] = r.file(ctx, fmt.Sprintf("received-%d", i), stream) })
		if !*together {
			running.Wait()
		}
	}
	running.Wait()
	return errors.Join(errs...)
}

// receiving is a way to receive into a directory.
type receiving struct {
	dir          string
	synced, bare bool
}

func (r receiving) file(ctx context.Context, name, stream string) error {
	file, err := os.Open(stream)
	if err != nil {
		return err
	}
	defer file.Close()
	if !r.bare {
		return r.native(name).Receive(ctx, r.dir, name, file)
	}
	if err := receiveBare(ctx, r.dir, name, file); err != nil || !r.synced {
		return err
	}
	return btrfs.Sync(r.dir)
}

// native is the receiver of a local destination, checkpoints included: as often as they are made by default, and at the same price.
func (r receiving) native(name string) sendstream.Receiver {
	n := sendstream.Receiver{Checkpoints: &sendstream.Checkpoints{Bytes: 1 << 30, Time: time.Minute, Save: func(sendstream.Position) error { return r.keep(name) }}}
	if r.synced {
		n.Sync = func() error { return btrfs.Sync(r.dir) }
	}
	return n
}

// keep makes a checkpoint of what is being received, and gives it up: a run ends with one subvolume.
func (r receiving) keep(name string) error {
	if err := btrfs.Sync(r.dir); err != nil {
		return err
	}
	kept := name + "-kept"
	if err := btrfs.Snapshot(filepath.Join(r.dir, name), r.dir, kept, true); err != nil {
		return err
	}
	s, err := btrfs.Info(filepath.Join(r.dir, kept))
	if err != nil {
		return err
	}
	return btrfs.Delete(r.dir, kept, s.UUID)
}

// sendPart sends to nobody.
func sendPart(ctx context.Context, args []string) error {
	var s btrfs.Send
	f := flag.NewFlagSet("send", flag.ExitOnError)
	f.Uint64Var(&s.Parent, "parent", 0, "")
	f.IntVar(&s.Version, "proto", 1, "")
	f.BoolVar(&s.Compressed, "compressed", false, "")
	f.Int64Var(&s.ReadAhead, "ahead", 0, "")
	_ = f.Parse(args)
	s.Subvolume = f.Arg(0)
	stream, err := s.Start(ctx)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, stream, make([]byte, 1<<20))
	return errors.Join(err, stream.Close())
}
