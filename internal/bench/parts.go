package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

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

// receiveParts receives streams from files, and syncs after each.
func receiveParts(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("receive", flag.ExitOnError)
	together := f.Bool("together", false, "all at the same time")
	unsynced := f.Bool("unsynced", false, "leave the data to the kernel")
	bare := f.Bool("bare", false, "by the bare system calls")
	_ = f.Parse(args)
	receive := sendstream.Receiver{}.Receive
	if *bare {
		receive = receiveBare
	}
	dir, streams := f.Arg(0), f.Args()[1:]
	errs := make([]error, len(streams))
	var running sync.WaitGroup
	for i, stream := range streams {
		running.Go(func() {
			errs[i] = receiveFile(ctx, receive, dir, fmt.Sprintf("received-%d", i), stream)
			if errs[i] == nil && !*unsynced {
				errs[i] = btrfs.Sync(dir)
			}
		})
		if !*together {
			running.Wait()
		}
	}
	running.Wait()
	return errors.Join(errs...)
}

func receiveFile(ctx context.Context, receive func(context.Context, string, string, io.Reader) error, dir, name, stream string) error {
	file, err := os.Open(stream)
	if err != nil {
		return err
	}
	defer file.Close()
	return receive(ctx, dir, name, file)
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
