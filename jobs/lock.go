package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/mailru/easyjson"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
)

// Holder is who holds a lock; it is written into the lock file for others to read.
//
//easyjson:json
type Holder struct {
	PID   int       `json:"pid"`
	Job   string    `json:"job"`
	Since time.Time `json:"since"`

	// Session tells the runs of a job, of which there is only one at a time, from all others to a machine elsewhere. What Client has there through a connection that has died unnoticed is its own, and may be
	// taken over. It is not in the lock files of this machine, whose processes are nobody else's business.
	Session string `json:"-"`
	Client  string `json:"client,omitempty"` // the Session of the client, where `btrkeep serve` holds the lock for one
}

// runSession is that of all runs of a job on this machine: the job's lock, which goes by its name, keeps them apart, so that one which another machine still counts as under way has ended, perhaps with this machine.
func runSession(stateDir string, job config.Job) string {
	sum := sha256.Sum256([]byte(Machine() + "\x00" + statePath(stateDir, job.SnapshotPlace()) + "\x00" + job.Name))
	return hex.EncodeToString(sum[:16])
}

// String is the holder in words; "another process" when the file said nothing.
func (h Holder) String() string {
	if h.PID == 0 {
		return "another process"
	}
	return fmt.Sprintf("process %d (job %s, since %s)", h.PID, h.Job, h.Since.Local().Format(time.DateTime))
}

// HeldError says that a lock is held, and by whom.
type HeldError struct {
	Path   string
	Holder Holder
}

func (e *HeldError) Error() string { return fmt.Sprintf("%s is locked by %s", e.Path, e.Holder) }

// How long a lock that is held is tried again: a child of ours between fork and exec shares our descriptor for a moment,
// and a holder writes its name just after it got the lock.
const (
	lockPatience = 250 * time.Millisecond
	lockRetry    = 10 * time.Millisecond
)

// Lock takes the flock(2) on path for holder, or returns a *HeldError that names who has it. The file is made if it is missing and never
// removed: a second process could lock the removed file while a third locks the new one. The kernel frees the lock when the process dies.
func Lock(path string, holder Holder) (unlock func(), err error) {
	return lock(path, holder, func() error { return nil })
}

// lock is Lock, and calls abandoned first if the last holder was killed. Where that fails, its name stays for the next one to find.
func lock(path string, holder Holder, abandoned func() error) (unlock func(), err error) {
	l := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW), flock.SetPermissions(0o600))
	ctx, cancel := context.WithTimeout(context.Background(), lockPatience)
	defer cancel()
	locked, err := l.TryLockContext(ctx, lockRetry)
	switch {
	case locked:
	case err == nil || errors.Is(err, context.DeadlineExceeded):
		return nil, &HeldError{Path: path, Holder: readHolder(path)}
	default:
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	left, err := readRegular(path)
	if err == nil && len(left) > 0 {
		err = abandoned()
	}
	if err != nil {
		_ = l.Unlock()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := writeHolder(path, holder); err != nil {
		_ = l.Unlock()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() {
		// Emptied while it is still ours, so that nobody is told of a holder that is gone.
		empty(path)
		_ = l.Unlock()
	}, nil
}

// LockDir is [Lock] for a directory of subvolumes: whatever is at its name there is durable then.
//
// Who was killed while it had the lock may have given a subvolume its final name and not come to the commit. It counts as complete, and others are deleted because it is there: so it must not lose
// that name in a power cut.
func LockDir(path, dir string, holder Holder) (unlock func(), err error) {
	return lock(path, holder, func() error { return btrfs.Commit(dir) })
}

// lockJob takes the job's lock and one for its snapshot directory, which `btrkeep backup` of the same source takes too.
func lockJob(cfg *config.Config, job config.Job, holder Holder) (unlock func(), err error) {
	if err := makeRuntimeDir(cfg.RuntimeDir); err != nil {
		return nil, err
	}
	first, err := Lock(jobLock(cfg, job), holder)
	if err != nil {
		return nil, err
	}
	if job.Remote() { // that of its snapshots is taken there
		return first, nil
	}
	second, err := LockSnapshots(cfg.RuntimeDir, job.SnapshotDir, holder)
	if err != nil {
		first()
		return nil, err
	}
	return func() { second(); first() }, nil
}

// LockSnapshots takes the lock of a snapshot directory of this machine: for a run here, or one elsewhere that pulls.
func LockSnapshots(runtimeDir, snapshotDir string, holder Holder) (unlock func(), err error) {
	if err := makeRuntimeDir(runtimeDir); err != nil {
		return nil, err
	}
	return Lock(snapshotsLock(runtimeDir, snapshotDir), holder)
}

func snapshotsLock(runtimeDir, snapshotDir string) string {
	return filepath.Join(runtimeDir, strings.TrimSuffix(filepath.Base(statePath("", snapshotDir)), ".json")+".dir.lock")
}

func makeRuntimeDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return hintf("locks live there; set runtime_dir or BTRKEEP_RUNTIME_DIR to a directory that can be written", "runtime directory: %w", err)
	}
	return nil
}

// readHolder waits a little for a holder that has just taken the lock and not yet written its name. A name left by a process that was
// killed is not believed.
func readHolder(path string) Holder {
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(lockRetry) {
		var h Holder
		b, err := readRegular(path)
		if err == nil && easyjson.Unmarshal(b, &h) == nil && h.PID > 0 && unix.Kill(h.PID, 0) != unix.ESRCH {
			return h
		}
		if time.Now().After(deadline) {
			return Holder{}
		}
	}
}

// readRegular reads a small file, not through a link and not a pipe that nobody writes to.
func readRegular(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, 4096)
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// empty empties the file.
func empty(path string) {
	// Not through a link that somebody who may write into the directory has put in the file's place.
	if f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0); err == nil {
		_ = f.Truncate(0)
		_ = f.Close()
	}
}

func writeHolder(path string, h Holder) error {
	b, err := easyjson.Marshal(h)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// One write, then the cut: a reader sees the old text, the new one, or something that does not parse.
	if _, err := f.WriteAt(append(b, '\n'), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(b)) + 1)
}

// Running tells who has a job's locks on this machine now: its run, `btrkeep backup` of the same source, or for a moment whoever changes its state. It takes nothing that a run would wait for.
func Running(cfg *config.Config, job config.Job) (Holder, bool) {
	if h, held := heldBy(jobLock(cfg, job)); held || job.Remote() {
		return h, held
	}
	return heldBy(snapshotsLock(cfg.RuntimeDir, job.SnapshotDir))
}

func heldBy(path string) (Holder, bool) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return Holder{}, false
	}
	defer f.Close()
	// A lock that is got is given back at once, and whoever wants it meanwhile tries again: see lockPatience.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return Holder{}, false
	}
	var h Holder
	if b, err := readRegular(path); err != nil || easyjson.Unmarshal(b, &h) != nil { // it has not yet written its name
		return Holder{}, true
	}
	return h, true
}

func jobLock(cfg *config.Config, job config.Job) string {
	return filepath.Join(cfg.RuntimeDir, job.Name+".lock")
}
