package fingerprint

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/atomicfile"
)

// header is what a fingerprint's file begins with, in little endian. A SHA-256 of itself follows it, then the records.
type header struct {
	Magic      [8]byte
	Version    uint32
	Depth      uint32     // how many fingerprints it builds on, one on top of the other
	Backup     btrfs.UUID // of the backup
	Base       btrfs.UUID // of the one that this is a delta to
	Inodes     uint64     // records of that kind
	Chunks     uint64
	BodyLength uint64 // bytes of the records
	BodySum    [sha256.Size]byte
}

const (
	version      = 1
	headerLength = 8 + 2*4 + 2*16 + 3*8 + sha256.Size
	bodyStart    = headerLength + sha256.Size
	bufferSize   = 64 << 10
)

func magic() [8]byte { return [8]byte{'b', 't', 'r', 'k', 'e', 'e', 'p', 'F'} }

// writer writes a fingerprint's file: under a temporary name until commit.
type writer struct {
	path    string
	file    *os.File
	header  header
	sum     hash.Hash
	buffer  []byte
	encoder encoder
}

func create(path string, h header) (*writer, error) {
	temporary := path + atomicfile.Suffix
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	h.Magic, h.Version = magic(), version
	w := &writer{path: path, file: f, header: h, sum: sha256.New()}
	if _, err := f.Seek(bodyStart, io.SeekStart); err != nil {
		return nil, errors.Join(err, w.abort())
	}
	return w, nil
}

func (w *writer) write(r record) error {
	switch r.kind {
	case isInode:
		w.header.Inodes++
	case isChunk:
		w.header.Chunks++
	}
	w.buffer = w.encoder.append(w.buffer, r)
	if len(w.buffer) < bufferSize {
		return nil
	}
	return w.flush()
}

func (w *writer) flush() error {
	w.sum.Write(w.buffer) // which never fails
	w.header.BodyLength += uint64(len(w.buffer))
	_, err := w.file.Write(w.buffer)
	w.buffer = w.buffer[:0]
	return err
}

// commit gives the file its name once it is complete, makes that durable, and says how large it is. For why without fsync see [btrfs.WriteOut].
func (w *writer) commit() (size int64, err error) {
	if err := w.finish(); err != nil {
		return 0, err
	}
	return int64(bodyStart + w.header.BodyLength), nil
}

func (w *writer) finish() error {
	err := w.flush()
	w.sum.Sum(w.header.BodySum[:0])
	if err == nil {
		_, err = w.file.WriteAt(w.header.encode(), 0)
	}
	if err == nil {
		err = btrfs.WriteOut(w.file)
	}
	if err != nil {
		return errors.Join(err, w.abort())
	}
	if err = w.file.Close(); err == nil {
		err = os.Rename(w.file.Name(), w.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(w.file.Name()))
	}
	return btrfs.Commit(filepath.Dir(w.path))
}

// abort leaves nothing behind.
func (w *writer) abort() error { return errors.Join(w.file.Close(), os.Remove(w.file.Name())) }

func (h header) encode() []byte {
	b, err := binary.Append(make([]byte, 0, bodyStart), binary.LittleEndian, h)
	if err != nil || len(b) != headerLength {
		panic(fmt.Sprintf("the header has %d bytes: %v", len(b), err)) // its type is a mistake
	}
	own := sha256.Sum256(b)
	return append(b, own[:]...)
}

// reader reads a fingerprint's file.
type reader struct {
	header
	file *os.File
	decoder
}

// open reads the header. An error is that of the system if there is no such file, else ErrDamaged.
func open(path string, backup btrfs.UUID) (*reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &reader{file: f}
	if err := r.open(backup); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	return r, nil
}

func (r *reader) open(backup btrfs.UUID) error {
	var b [bodyStart]byte
	if _, err := io.ReadFull(r.file, b[:]); err != nil {
		return fmt.Errorf("read its header: %w", err)
	}
	if _, err := binary.Decode(b[:headerLength], binary.LittleEndian, &r.header); err != nil {
		return err
	}
	own := sha256.Sum256(b[:headerLength])
	info, err := r.file.Stat()
	switch {
	case err != nil:
		return err
	case r.Magic != magic():
		return errors.New("it is no fingerprint")
	case !bytes.Equal(own[:], b[headerLength:]):
		return errors.New("its header has a wrong checksum")
	case r.Version != version:
		return fmt.Errorf("it is of version %d, this program knows %d", r.Version, version)
	case r.Backup != backup:
		return fmt.Errorf("it is that of backup %s", r.Backup)
	case r.Base.IsZero() != (r.Depth == 0) || r.Depth >= maxChain:
		return fmt.Errorf("it builds on %d others", r.Depth)
	case uint64(info.Size()) != bodyStart+r.BodyLength:
		return fmt.Errorf("it has %d bytes instead of %d", info.Size(), bodyStart+r.BodyLength)
	}
	return nil
}

// check makes sure that all records are as they were written, and goes to the first.
func (r *reader) check() error {
	all := sha256.New()
	body := io.NewSectionReader(r.file, bodyStart, int64(r.BodyLength))
	n, err := io.Copy(all, body)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %s: %w", ErrDamaged, r.file.Name(), err)
	case uint64(n) != r.BodyLength || !bytes.Equal(all.Sum(nil), r.BodySum[:]):
		return fmt.Errorf("%w: %s: its records have a wrong checksum", ErrDamaged, r.file.Name())
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r.decoder = decoder{in: bufio.NewReaderSize(body, bufferSize)}
	return nil
}

// next gives io.EOF at the end.
func (r *reader) next() (record, error) {
	rec, err := r.decoder.next()
	if err != nil && err != io.EOF {
		return record{}, fmt.Errorf("%w: %s: %w", ErrDamaged, r.file.Name(), err)
	}
	return rec, err
}
