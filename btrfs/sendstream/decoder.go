package sendstream

import "io"

// Decoder reads a stream command by command. It holds one buffer of 1 MiB, which grows to what the longest command needs.
type Decoder struct {
	in      *window
	order   order
	command Command
	err     error
}

// NewDecoder makes a decoder of the stream that src gives. It reads ahead.
func NewDecoder(src io.Reader) *Decoder {
	return &Decoder{in: newWindow(src, windowSize)}
}

// Version gives the stream's protocol, for which it reads the header.
func (d *Decoder) Version() (int, error) {
	if d.in.version == 0 && d.err == nil {
		d.err = d.header()
	}
	return d.in.version, d.err
}

// Next gives the next command, END included. It and everything got from it is valid until the next call.
//
// After END it reads on and gives io.EOF when the input ends there, else an error: a stream is one subvolume. A stream that ends without END
// gives an error that wraps both ErrCorrupt and io.ErrUnexpectedEOF; any other fault of the input one that wraps ErrCorrupt or ErrVersion.
func (d *Decoder) Next() (*Command, error) {
	if _, err := d.Version(); err != nil {
		return nil, err
	}
	if d.err = d.next(); d.err != nil {
		return nil, d.err
	}
	return &d.command, nil
}

// Count gives the number of commands read so far.
func (d *Decoder) Count() int64 { return d.in.count }

// Offset gives the number of bytes of the stream up to and with the last command read.
func (d *Decoder) Offset() int64 { return d.in.taken }

// resume makes the decoder go on in the middle of a stream.
func (d *Decoder) resume(from Checkpoint) {
	d.in.version, d.in.taken, d.in.count = from.Version, from.Offset, from.Commands
	d.order.begun = true
}

func (d *Decoder) header() error {
	for {
		if ok, err := d.in.header(); ok || err != nil {
			return err
		}
		if err := d.in.fill(); err != nil {
			return d.in.cut(err)
		}
	}
}

func (d *Decoder) next() error {
	if d.order.ended {
		return d.in.end()
	}
	for {
		size, err := d.in.command(&d.command)
		if err != nil {
			return err
		}
		if size > 0 {
			if err := d.order.step(d.command.Cmd); err != nil {
				return d.in.fault(err)
			}
			if d.in.digest != nil {
				d.in.digest.command(&d.command, d.in.buf[d.in.r:d.in.r+size])
			}
			d.in.take(size)
			d.in.count++
			return nil
		}
		if err := d.in.fill(); err != nil {
			return d.in.cut(err)
		}
	}
}
