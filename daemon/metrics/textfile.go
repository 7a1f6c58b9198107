package metrics

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/atomicfile"
	"github.com/btrkeep/btrkeep/jobs"
)

// lockName is the file in the runtime directory that keeps two processes from writing the textfile at the same time. No job's lock has such a name.
const lockName = ".textfile.lock"

// WriteTextfile writes the textfile that the configuration names, if it does, for a process that has made runs without the daemon. What only the daemon knows is not in it.
func WriteTextfile(cfg *config.Config, version string, now func() time.Time) error {
	if cfg.Textfile == "" {
		return nil
	}
	states := newStates(now)
	states.use(cfg)
	e := collect(states, version)
	e.add(daemonUp, 0)
	return write(cfg.Textfile, cfg.RuntimeDir, e.text())
}

// write replaces the textfile, so that a reader finds the old or the new one whole. Others may read it: the node exporter is not root.
func write(path, runtimeDir string, text []byte) error {
	unlock, err := jobs.Lock(filepath.Join(runtimeDir, lockName), jobs.Holder{PID: os.Getpid(), Since: time.Now()})
	if err != nil {
		return fmt.Errorf("textfile: %w", err)
	}
	defer unlock()
	err = atomicfile.ReplaceAfter(path, text, func(f *os.File) error { return f.Chmod(0o644) })
	if err != nil {
		return &jobs.HintError{Err: fmt.Errorf("textfile: %w", err), Hint: writeHint(err)}
	}
	return nil
}

func writeHint(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "make the directory that the node exporter reads (its --collector.textfile.directory)"
	case errors.Is(err, syscall.EROFS):
		return "the service may not write below /usr, /boot and /etc: choose a directory below /var"
	}
	return "runs go on without it"
}

// remove removes a textfile that is no longer asked for.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("textfile that is not written any more: %w", err)
	}
	return nil
}
