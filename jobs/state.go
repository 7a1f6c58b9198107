package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/atomicfile"
)

// State is what btrkeep remembers of one job between runs. All of it may be lost without losing a backup; what is lost with it is the
// protection of the last common snapshot of destinations that are absent.
type State struct {
	Job          string                      `json:"job"` // its name when this was written: for people only
	Source       string                      `json:"source"`
	SnapshotDir  string                      `json:"snapshot_dir"`
	FirstSeen    time.Time                   `json:"first_seen,omitzero"`   // by the daemon
	LastRun      time.Time                   `json:"last_run,omitzero"`     // start of the last attempt, whatever became of it
	LastSuccess  time.Time                   `json:"last_success,omitzero"` // start of the last run with result ok
	LastResult   string                      `json:"last_result,omitempty"`
	LastError    string                      `json:"last_error,omitempty"`
	Clock        Clock                       `json:"clock,omitzero"` // at the last run whose clock was believed
	Doubt        Clock                       `json:"doubt,omitzero"` // since when another clock shows, one that is not believed yet
	Destinations map[string]DestinationState `json:"destinations"`   // by URL
}

// DestinationState is what is remembered of one destination of a job.
type DestinationState struct {
	Name        string                 `json:"name"`
	Adhoc       bool                   `json:"adhoc,omitempty"` // known from `btrkeep backup`, not from a configuration
	LastAttempt time.Time              `json:"last_attempt,omitzero"`
	LastSuccess time.Time              `json:"last_success,omitzero"`
	LastResult  string                 `json:"last_result,omitempty"`
	LastError   string                 `json:"last_error,omitempty"`
	AbsentSince time.Time              `json:"absent_since,omitzero"`
	MountPoint  string                 `json:"mount_point,omitempty"`
	FileSystem  btrfs.UUID             `json:"file_system,omitzero"` // of the disk that was there last
	Newest      string                 `json:"newest,omitempty"`     // name of the newest backup
	NewestTaken time.Time              `json:"newest_taken,omitzero"`
	Disks       map[string]CommonState `json:"disks,omitempty"` // by file system UUID: disks may take turns at one path
}

// CommonState is the last snapshot that the source and one disk had in common.
type CommonState struct {
	Snapshot btrfs.UUID   `json:"snapshot"` // at the source; zero before the first backup
	Name     string       `json:"name"`
	Resume   []btrfs.UUID `json:"resume,omitempty"` // snapshots at the source without which an interrupted transfer cannot go on
	Seen     time.Time    `json:"seen"`
}

// statePath depends on the snapshot directory, not on the job's name: a job that is renamed keeps its state, and with it its chain.
func statePath(dir, snapshotDir string) string {
	sum := sha256.Sum256([]byte(snapshotDir))
	return filepath.Join(dir, "jobs", hex.EncodeToString(sum[:8])+".json")
}

var errStateSyntax = errors.New("not what btrkeep wrote")

// LoadState reads the state of a job; a job that has none, or one that cannot be parsed, has an empty one.
func LoadState(dir string, job config.Job) (State, error) {
	s := State{Job: job.Name, Source: job.Source, SnapshotDir: job.SnapshotDir}
	path := statePath(dir, job.SnapshotDir)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		s.Destinations = map[string]DestinationState{}
		return s, fmt.Errorf("read state: %w", err)
	default:
		if err := json.Unmarshal(b, &s); err != nil {
			return State{Job: job.Name, Source: job.Source, SnapshotDir: job.SnapshotDir, Destinations: map[string]DestinationState{}},
				fmt.Errorf("state of job %s in %s: %w: %w", job.Name, path, errStateSyntax, err)
		}
		s.Job, s.Source, s.SnapshotDir = job.Name, job.Source, job.SnapshotDir
	}
	if s.Destinations == nil {
		s.Destinations = map[string]DestinationState{}
	}
	return s, nil
}

// Save writes the state so that a power cut leaves the old or the new one.
func (s State) Save(dir string) error {
	path := statePath(dir, s.SnapshotDir)
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := atomicfile.Write(path, append(b, '\n')); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// doubt says why the clock is not believed, or nothing. A clock that was moved is doubted until it comes back or has stayed for clockTrust.
func (s *State) doubt(clock Clock) (why string) {
	by, jumped := clock.JumpedFrom(s.Clock)
	if !jumped {
		return ""
	}
	if _, again := clock.JumpedFrom(s.Doubt); again || s.Doubt.Wall.IsZero() {
		s.Doubt = clock
	}
	until := s.Doubt.Wall.Add(clockTrust)
	if !clock.Wall.Before(until) {
		return ""
	}
	return fmt.Sprintf("the clock moved by %s since it was last believed: nothing is pruned before %s, unless it comes back", by.Round(time.Second), until.Format(time.DateTime))
}
