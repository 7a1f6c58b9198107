package diff

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
)

// Size tells how many bytes a send would make, data before compression, from the same send without file contents. That takes the time of such
// a send, which for a whole subvolume is that of reading all its metadata; ctx bounds it.
func Size(ctx context.Context, s btrfs.Send) (int64, error) {
	version := max(s.Version, 1)
	s.NoData, s.Compressed = true, false
	stream, err := s.Start(ctx)
	if err != nil {
		return 0, err
	}
	size, err := sizeOf(stream, version)
	if ended := stream.Close(); ended != nil && !errors.Is(ended, context.Canceled) {
		err = ended
	}
	if err != nil {
		return 0, fmt.Errorf("estimate %s: %w", s.Subvolume, err)
	}
	return size, nil
}

// sizeOf is the size of the stream with file contents that stream, without them, stands for.
func sizeOf(stream io.Reader, version int) (int64, error) {
	// A write of 48 KiB at most, or 128 KiB, with header, path, offset and the data's own header, takes the place of what tells its extent.
	const extentHeader, writeHeader = 10 + 4 + 12 + 12, 10 + 4 + 12 + 4
	most := int64(48 << 10)
	if version > 1 {
		most = 128 << 10
	}
	d := sendstream.NewDecoder(stream)
	var data int64
	for {
		c, err := d.Next()
		if err == io.EOF {
			return d.Offset() + data, nil
		}
		if err != nil {
			return 0, err
		}
		if c.Cmd == sendstream.CmdUpdateExtent {
			bytes, path := int64(c.Uint(sendstream.AttrSize)), int64(len(c.Bytes(sendstream.AttrPath)))
			writes := (bytes + most - 1) / most
			data += bytes + writes*(writeHeader+path) - (extentHeader + path)
		}
	}
}
