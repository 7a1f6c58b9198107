package jobs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mailru/easyjson"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/atomicfile"
)

// The history is cut to its newer half when it has grown to this many bytes: some ten thousand runs.
const maxHistory = 16 << 20

func historyPath(dir string) string { return filepath.Join(dir, "history.jsonl") }

// AppendHistory adds one run to the history, durably if it did anything.
func AppendHistory(dir string, r Record) error {
	line, err := easyjson.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(historyPath(dir), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	defer f.Close()
	// Runs of other jobs append and cut as well.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock history: %w", err)
	}
	if same, err := sameFile(f, historyPath(dir)); err == nil && !same { // cut by another process while we waited
		f.Close()
		return AppendHistory(dir, r)
	}
	if torn, err := endsTorn(f); err != nil {
		return fmt.Errorf("write history: %w", err)
	} else if torn {
		line = append([]byte{'\n'}, line...)
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	// That nothing was to be done needs no write of its own to the disk.
	if !r.uneventful() {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("write history: %w", err)
		}
	}
	if st, err := f.Stat(); err == nil && st.Size() > maxHistory {
		return cutHistory(dir, f, st.Size())
	}
	return nil
}

func sameFile(f *os.File, path string) (bool, error) {
	a, err := f.Stat()
	if err != nil {
		return false, err
	}
	b, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return os.SameFile(a, b), nil
}

// endsTorn reports whether a power cut left half a line at the end.
func endsTorn(f *os.File) (bool, error) {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return false, err
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], st.Size()-1)
	return last[0] != '\n', err
}

func cutHistory(dir string, f *os.File, size int64) error {
	half := make([]byte, size/2)
	n, err := f.ReadAt(half, size-size/2)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	half = half[:n]
	if i := bytes.IndexByte(half, '\n'); i >= 0 {
		half = half[i+1:]
	}
	if err := atomicfile.Write(historyPath(dir), half); err != nil {
		return fmt.Errorf("cut history: %w", err)
	}
	return nil
}

// History reads past runs, newest first; job "" means all, that of a group those of its members. Lines that do not parse (a power cut) are left out.
func History(dir, job string) ([]Record, error) {
	f, err := os.Open(historyPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return []Record{}, nil
	} else if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	defer f.Close()
	records := []Record{}
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadBytes('\n')
		var rec Record
		if json.Valid(line) && easyjson.Unmarshal(line, &rec) == nil && (job == "" || rec.Job == job || strings.HasPrefix(rec.Job, job+":")) {
			records = append(records, rec)
		}
		if err != nil {
			slices.Reverse(records)
			if errors.Is(err, io.EOF) {
				return records, nil
			}
			return nil, fmt.Errorf("read history: %w", err)
		}
	}
}
