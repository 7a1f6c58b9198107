package sendstream

import (
	"context"
	"fmt"
	"io"

	"github.com/btrkeep/btrkeep/btrfs"
)

// Summary is what a stream said of itself.
type Summary struct {
	Version    int
	UUID       btrfs.UUID // of the subvolume sent
	Ctransid   uint64
	ParentUUID btrfs.UUID // zero for a full stream
	Path       string     // the subvolume's own name in the stream
	Bytes      int64      // passed on: the whole stream
	Commands   int64      // END included
	DataBytes  int64      // sum of WRITE/ENCODED_WRITE payloads and UPDATE_EXTENT lengths
	Ended      bool       // the END command was seen and nothing came after it
}

// Tap passes one stream on while it checks it.
//
// Every command's CRC32C is checked before any byte of that command is passed on; a path that is absolute, holds ".." or NUL, or
// is longer than PATH_MAX is refused, as is a command that lacks what it needs. The subvolume's name in the first command is replaced
// by Name and its CRC made anew. The stream must begin with SUBVOL or SNAPSHOT and end with END, with nothing after it. Memory is
// bounded by MaxCommand whatever the input claims. So a stream that was cut anywhere is never passed on as a complete one: END is
// passed on only after the source has confirmed it (Confirm).
type Tap struct {
	Name     string            // the name the receiver will use; "" leaves it
	Confirm  func() error      // called when END and then the end of the input were read, before END is passed on: an error (the sender's exit) withholds it
	Progress func(bytes int64) // called now and then with the bytes passed on so far, and at the end; may be nil
}

// Copy reads one stream from src, to its end, and writes it to dst. What src has at one time is passed on at once, without waiting for more.
//
// Errors wrap ErrCorrupt (or ErrVersion) where the input is at fault, and io.ErrUnexpectedEOF too where it was cut; those of src, dst and
// Confirm are wrapped. The summary tells how far it came. Copy looks at ctx between reads: to end a read that waits, close src.
func (t *Tap) Copy(ctx context.Context, dst io.Writer, src io.Reader) (Summary, error) {
	return t.copy(ctx, dst, newWindow(src, windowSize))
}

func (t *Tap) copy(ctx context.Context, dst io.Writer, in *window) (Summary, error) {
	if t.Name != "" {
		if err := checkName([]byte(t.Name)); err != nil {
			return Summary{}, fmt.Errorf("%q cannot be the name of a subvolume", t.Name)
		}
	}
	r := relay{tap: t, dst: dst, in: in}
	err := r.run(ctx)
	r.sum.Version, r.sum.Commands = r.in.version, r.in.count
	return r.sum, err
}

// relay is one Copy under way.
type relay struct {
	tap      *Tap
	dst      io.Writer
	in       *window
	order    order
	command  Command
	end      []byte // the END command, withheld
	sum      Summary
	progress progress
}

func (r *relay) run(ctx context.Context) error {
	for !r.order.ended {
		if err := r.fill(ctx); err != nil {
			return r.in.cut(err)
		}
		if err := r.pass(); err != nil {
			return err
		}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := r.in.end(); err != io.EOF {
		return err
	}
	r.sum.Ended = true
	if r.tap.Confirm != nil {
		if err := r.tap.Confirm(); err != nil {
			return fmt.Errorf("confirm send stream: %w", err)
		}
	}
	if err := r.write(r.end); err != nil {
		return err
	}
	r.progress.done(r.tap.Progress, r.sum.Bytes)
	return nil
}

func (r *relay) fill(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return r.in.fill()
}

// pass writes all commands that are complete in the window, with one Write.
func (r *relay) pass() error {
	if r.in.version == 0 {
		if ok, err := r.in.header(); !ok {
			return err
		}
	}
	if !r.order.begun {
		if ok, err := r.begin(); !ok {
			return err
		}
	}
	from := r.in.r
	for !r.order.ended {
		size, err := r.next()
		if err != nil {
			return err
		}
		if size == 0 {
			break
		}
		if r.order.ended {
			r.end = append(r.end, r.in.buf[r.in.r-size:r.in.r]...)
			return r.write(r.in.buf[from : r.in.r-size])
		}
		r.count()
	}
	return r.write(r.in.buf[from:r.in.r])
}

// begin passes the header and the first command on, the latter with another name.
func (r *relay) begin() (bool, error) {
	size, err := r.next()
	if size == 0 {
		return false, err
	}
	c := &r.command
	r.sum.Path = c.Path()
	r.sum.UUID, r.sum.Ctransid, r.sum.ParentUUID = c.UUID(AttrUUID), c.Uint(AttrCtransid), c.UUID(AttrCloneUUID)

	head := appendHeader(nil, r.in.version)
	if r.tap.Name == "" {
		return true, r.write(append(head, r.in.buf[r.in.r-size:r.in.r]...))
	}
	var values []Value
	for a, v := range c.Attrs() {
		if a == AttrPath {
			v = []byte(r.tap.Name)
		}
		values = append(values, Value{a, v})
	}
	if head, err = appendCommand(head, r.in.version, c.Cmd, values...); err != nil {
		return false, err
	}
	return true, r.write(head)
}

// next takes one command; size 0 means that it is not all there yet.
func (r *relay) next() (size int, err error) {
	if size, err = r.in.command(&r.command); size == 0 {
		return 0, err
	}
	if err := r.order.step(r.command.Cmd); err != nil {
		return 0, r.in.fault(err)
	}
	r.in.take(size)
	r.in.count++
	return size, nil
}

// count adds the command's file data to the summary.
func (r *relay) count() {
	switch r.command.Cmd {
	case CmdWrite, CmdEncodedWrite:
		r.sum.DataBytes += int64(len(r.command.Bytes(AttrData)))
	case CmdUpdateExtent:
		r.sum.DataBytes += int64(r.command.Uint(AttrSize))
	}
}

func (r *relay) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := r.dst.Write(b)
	r.sum.Bytes += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("pass send stream on: %w", err)
	}
	r.progress.step(r.tap.Progress, r.sum.Bytes)
	return nil
}
