package sendstream

import (
	"os"

	"golang.org/x/sys/unix"
)

// offset is one where something may go wrong.
func (s *shaper) offset() int64 {
	offsets := []int64{0, 1, 4096, 8192, 2047, 4095, 4097, 16384, 65536, 131072, 131073, 200_000, 262_144, 1 << 20}
	return offsets[s.number("offset", len(offsets))]
}

// data is easily compressed, or not at all.
func (s *shaper) data() []byte {
	sizes := []int{1, 100, 4096, 2048, 2049, 4095, 5000, 8192, 20_000, 65536, 131072, 150_000, 0}
	data := make([]byte, sizes[s.number("size", len(sizes))])
	fill := uint64(s.number("content", 64)) // from 32 on it is noise
	word := fill*0x9e3779b97f4a7c15 + 1
	for i := range data {
		if fill < 32 {
			data[i] = byte(fill) + byte(i/512)
			continue
		}
		word ^= word << 13
		word ^= word >> 7
		word ^= word << 17
		data[i] = byte(word)
	}
	return data
}

func (s *shaper) create() error { return s.fill(s.name()) }

// fill writes a file from its start; at the name of a fifo it does not wait.
func (s *shaper) fill(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(s.data())
	return err
}

func (s *shaper) with(path string, use func(f *os.File) error) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return use(f)
}

func (s *shaper) write() error {
	return s.with(s.file(), func(f *os.File) error {
		_, err := f.WriteAt(s.data(), s.offset())
		return err
	})
}

func (s *shaper) append() error {
	return s.with(s.file(), func(f *os.File) error {
		end, err := f.Seek(0, 2)
		if err != nil || end > 4<<20 {
			return err
		}
		_, err = f.WriteAt(s.data(), end+s.offset())
		return err
	})
}

func (s *shaper) truncate() error { return os.Truncate(s.file(), s.offset()) }

func (s *shaper) fallocate(mode uint32) error {
	return s.with(s.file(), func(f *os.File) error {
		return unix.Fallocate(int(f.Fd()), mode, s.offset(), s.offset())
	})
}

func (s *shaper) punch() error {
	return s.fallocate(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE)
}

func (s *shaper) preallocate() error {
	modes := []uint32{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE}
	return s.fallocate(modes[s.number("mode", len(modes))])
}

// clone shares a range of a file with another or with another place in itself.
func (s *shaper) clone() error {
	return s.with(s.file(), func(from *os.File) error {
		return s.with(s.file(), func(to *os.File) error {
			return unix.IoctlFileCloneRange(int(to.Fd()), &unix.FileCloneRange{
				Src_fd: int64(from.Fd()), Src_offset: uint64(s.offset()) &^ 4095, Src_length: uint64(s.offset()) &^ 4095, Dest_offset: uint64(s.offset()) &^ 4095,
			})
		})
	})
}

func (s *shaper) reflink() error {
	return s.with(s.file(), func(from *os.File) error {
		to, err := os.OpenFile(s.name(), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return err
		}
		defer to.Close()
		return unix.IoctlFileClone(int(to.Fd()), int(from.Fd()))
	})
}
