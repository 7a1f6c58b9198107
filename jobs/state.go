package jobs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/mailru/easyjson"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/atomicfile"
)

// State is what btrkeep remembers of one job between runs. All of it may be lost without losing a backup; what is lost with it is the
// protection of the last common snapshot of destinations that are absent.
//
//easyjson:json
type State struct {
	Job          string           `json:"job"` // its name when this was written: for people only
	Source       string           `json:"source"`
	SnapshotDir  string           `json:"snapshot_dir"`
	FirstSeen    time.Time        `json:"first_seen,omitzero"`   // by the daemon
	LastRun      time.Time        `json:"last_run,omitzero"`     // start of the last attempt, whatever became of it
	LastSuccess  time.Time        `json:"last_success,omitzero"` // start of the last run with result ok
	LastResult   string           `json:"last_result,omitempty"`
	LastError    string           `json:"last_error,omitempty"`
	Failing      string           `json:"failing,omitempty"` // the error of the last run that failed by itself, if none has gone well since
	Clock        Clock            `json:"clock,omitzero"`    // at the last run whose clock was believed
	Doubt        Clock            `json:"doubt,omitzero"`    // since when another clock shows, one that is not believed yet
	Tasks        tasksText        `json:"tasks,omitempty"`
	Snapshots    int              `json:"snapshots,omitempty"` // btrkeep's own, at the source after the last run
	Destinations destinationsText `json:"destinations"`        // by URL
	Serial       uint64           `json:"serial"`              // of a durable one, another each time: says which of them a recent one goes on from

	durable *State // what a power cut would leave; nil if that is not known
}

// DestinationState is what is remembered of one destination of a job.
//
//easyjson:json
type DestinationState struct {
	Name        string        `json:"name"`
	Adhoc       bool          `json:"adhoc,omitempty"` // known from `btrkeep backup`, not from a configuration
	LastAttempt time.Time     `json:"last_attempt,omitzero"`
	LastSuccess time.Time     `json:"last_success,omitzero"`
	LastResult  string        `json:"last_result,omitempty"`
	LastError   string        `json:"last_error,omitempty"`
	Failing     string        `json:"failing,omitempty"` // the error of the last transfer that failed, if none has gone well since: absence mends nothing
	AbsentSince time.Time     `json:"absent_since,omitzero"`
	MountPoint  string        `json:"mount_point,omitempty"`
	FileSystem  btrfs.UUID    `json:"file_system,omitzero"` // of the disk that was there last
	Newest      string        `json:"newest,omitempty"`     // name of the newest backup
	NewestTaken time.Time     `json:"newest_taken,omitzero"`
	Proofs      proofsText    `json:"proofs,omitempty"`
	Backups     int           `json:"backups,omitempty"`      // complete ones, when it was there last
	Backlog     int           `json:"backlog,omitempty"`      // snapshots that the last run left to be brought over
	LastBytes   int64         `json:"last_bytes,omitempty"`   // that crossed the line in the last transfer that had any
	LastSeconds float64       `json:"last_seconds,omitempty"` // that it took
	Increment   int64         `json:"increment,omitempty"`    // bytes that one more snapshot takes, as the last ones that came over against another did
	Free        uint64        `json:"free_bytes,omitempty"`   // on the disk when it was there last
	Total       uint64        `json:"total_bytes,omitempty"`
	Space       []SpaceSample `json:"space,omitempty"` // of the disk that was there last, oldest first: about one a day
	Disks       disksText     `json:"disks,omitempty"` // by file system UUID: disks may take turns at one path
}

// CommonState is the last snapshot that the source and one disk had in common.
//
//easyjson:json
type CommonState struct {
	Snapshot btrfs.UUID   `json:"snapshot"` // at the source, by its UUID in streams; zero before the first backup
	Name     string       `json:"name"`
	Resume   []btrfs.UUID `json:"resume,omitempty"` // snapshots at the source without which an interrupted transfer cannot go on
	Seen     time.Time    `json:"seen"`
}

// statePath depends on the snapshot directory (config.Job.SnapshotPlace), not on the job's name: a job that is renamed keeps its state, and with it its chain.
func statePath(dir, snapshotDir string) string {
	sum := sha256.Sum256([]byte(snapshotDir))
	return filepath.Join(dir, "jobs", hex.EncodeToString(sum[:8])+".json")
}

// recentSuffix ends the name of the file that is written without waiting for the disk; see [State.keep].
const recentSuffix = ".recent"

// maxRecent is by how much a power cut may set the times in the state back.
const maxRecent = 24 * time.Hour

var errStateSyntax = errors.New("not what btrkeep wrote")

// LoadState reads the state of a job; a job that has none, or one that cannot be parsed, has an empty one.
func LoadState(dir string, job config.Job) (State, error) {
	empty := State{Job: job.Name, Source: job.Source, SnapshotDir: job.SnapshotPlace(), Destinations: map[string]DestinationState{}}
	path := statePath(dir, job.SnapshotPlace())
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return empty, nil
	case err != nil:
		return empty, fmt.Errorf("read state: %w", err)
	}
	durable, err := parseState(b, job)
	if err != nil {
		return empty, fmt.Errorf("state of job %s in %s: %w: %w", job.Name, path, errStateSyntax, err)
	}
	if recent, err := os.ReadFile(path + recentSuffix); err == nil {
		// After a power cut it may be anything: then the durable one is the newest there is.
		if s, err := parseState(recent, job); err == nil && s.Serial == durable.Serial && bytes.Equal(s.lasting(), durable.lasting()) {
			s.durable = &durable
			return s, nil
		}
	}
	s, err := parseState(b, job) // once more: the two must not share their maps
	s.durable = &durable
	return s, err
}

func readState(b []byte) (s State, err error) {
	if !json.Valid(b) { // the generated code does not look that closely
		return s, errors.New("it is no well-formed JSON")
	}
	err = easyjson.Unmarshal(b, &s)
	return s, err
}

func parseState(b []byte, job config.Job) (State, error) {
	s, err := readState(b)
	if err != nil {
		return State{}, err
	}
	s.Job, s.Source, s.SnapshotDir = job.Name, job.Source, job.SnapshotPlace()
	if s.Destinations == nil {
		s.Destinations = map[string]DestinationState{}
	}
	return s, nil
}

// Save writes the state so that a power cut leaves the old or the new one.
func (s *State) Save(dir string) error {
	s.Serial = rand.Uint64() // not counted: a state that was lost would begin anew
	return s.write(dir, "", atomicfile.Write)
}

// keep is [State.Save], but without waiting for the disk if nothing has changed since the durable state but times, and those by less than maxRecent: a run
// that found everything done costs no write of its own, and a power cut makes the daemon believe at worst that it is due once more.
func (s *State) keep(dir string) error {
	if s.durable == nil || s.LastRun.Sub(s.durable.LastRun).Abs() > maxRecent || !bytes.Equal(s.lasting(), s.durable.lasting()) {
		return s.Save(dir)
	}
	return s.write(dir, recentSuffix, atomicfile.Replace)
}

// lasting is the text of all but what each run notes anew.
func (s *State) lasting() []byte {
	l := *s
	l.Serial, l.LastRun, l.LastSuccess, l.Clock = 0, time.Time{}, time.Time{}, Clock{}
	l.Destinations = maps.Clone(s.Destinations)
	for url, d := range l.Destinations {
		d.LastAttempt, d.LastSuccess, d.Free, d.Total = time.Time{}, time.Time{}, 0, 0
		d.Disks = maps.Clone(d.Disks)
		for id, disk := range d.Disks {
			disk.Seen = time.Time{}
			d.Disks[id] = disk
		}
		l.Destinations[url] = d
	}
	b, err := easyjson.Marshal(l)
	if err != nil {
		panic(err) // it is made of what can be written
	}
	return b
}

func (s *State) write(dir, suffix string, write func(path string, data []byte) error) error {
	path := statePath(dir, s.SnapshotDir)
	b, err := easyjson.Marshal(s)
	if err != nil {
		return err
	}
	var text bytes.Buffer // for people
	if err := json.Indent(&text, b, "", "  "); err != nil {
		return err
	}
	text.WriteByte('\n')
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := write(path+suffix, text.Bytes()); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// Doubts reports whether a reading of the clock is not believed: then what is old by it is not.
func (s State) Doubts(clock Clock) bool { return s.doubt(clock) != "" }

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
