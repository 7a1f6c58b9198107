package jobs

import (
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

// VerifyState is what is remembered of the verifies of one job. All of it may be lost: then they begin anew.
type VerifyState struct {
	Job          string                         `json:"job"` // for people only
	SnapshotDir  string                         `json:"snapshot_dir"`
	Destinations map[string]*VerifyDestinations `json:"destinations"` // by URL
}

// VerifyDestinations is what is remembered of one destination.
type VerifyDestinations struct {
	Name  string                 `json:"name"`
	Last  VerifyLast             `json:"last,omitzero"`
	Kinds map[string]*VerifyKind `json:"kinds,omitempty"` // deep, sample, metadata: each goes on by itself
}

// VerifyLast is what the last verify of a destination showed.
type VerifyLast struct {
	Time     time.Time `json:"time"`
	Result   string    `json:"result"` // ok, failed, incomplete
	Findings int       `json:"findings"`
}

// VerifyKind is how far the verifies of one kind have come.
type VerifyKind struct {
	Parts    uint64                        `json:"parts"`          // as in [content.Options]
	Part     uint64                        `json:"part,omitempty"` // of the pass under way, or of the next one
	Serial   uint64                        `json:"serial"`         // counts the passes
	Pass     *VerifyPass                   `json:"pass,omitempty"` // under way
	Verified map[btrfs.UUID]VerifiedBackup `json:"verified,omitempty"`
}

// VerifiedBackup is when the contents of a backup were compared to their end.
type VerifiedBackup struct {
	Time time.Time `json:"time"`
	Pass uint64    `json:"pass"` // serial number
}

// VerifyPass is one look at the contents of all backups, or at one part of the data of each.
type VerifyPass struct {
	Started  time.Time       `json:"started"`
	Upto     uint64          `json:"upto"`             // transaction of the newest backup when it began
	Turned   bool            `json:"turned,omitempty"` // the newest had the last turn
	Cut      *VerifyCut      `json:"cut,omitempty"`
	Findings []VerifyFinding `json:"findings,omitempty"`
}

// VerifyCut is where a pass was cut.
type VerifyCut struct {
	Backup  btrfs.UUID      `json:"backup"`
	Name    string          `json:"name"`
	Against string          `json:"against"` // what it was compared with
	After   json.RawMessage `json:"after"`
	Path    string          `json:"path"` // for people only
}

// verifyPath is that of the state of verifies: it depends on the same as the job's own.
func verifyPath(dir, snapshotDir string) string {
	return filepath.Join(dir, "verify", filepath.Base(statePath(dir, snapshotDir)))
}

// LoadVerify reads what is remembered of the verifies of a job; nothing if there is none, or if it cannot be parsed.
func LoadVerify(stateDir string, job config.Job) (VerifyState, error) {
	empty := VerifyState{Job: job.Name, SnapshotDir: job.SnapshotPlace(), Destinations: map[string]*VerifyDestinations{}}
	b, err := os.ReadFile(verifyPath(stateDir, job.SnapshotPlace()))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return empty, nil
	case err != nil:
		return empty, fmt.Errorf("read the state of verifies: %w", err)
	}
	s := empty
	if json.Unmarshal(b, &s) != nil || s.Destinations == nil {
		return empty, nil
	}
	s.Job, s.SnapshotDir = job.Name, job.SnapshotPlace()
	return s, nil
}

func (s *VerifyState) save(dir string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	path := verifyPath(dir, s.SnapshotDir)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := atomicfile.Write(path, append(b, '\n')); err != nil {
		return fmt.Errorf("write the state of verifies: %w", err)
	}
	return nil
}

// destination is what is remembered of one destination.
func (s *VerifyState) destination(d config.Destination) *VerifyDestinations {
	if s.Destinations[d.URL] == nil {
		s.Destinations[d.URL] = &VerifyDestinations{}
	}
	s.Destinations[d.URL].Name = d.Name
	return s.Destinations[d.URL]
}

// kind is how far the verifies have come that read one of so many parts.
func (s *VerifyState) kind(d config.Destination, parts uint64) *VerifyKind {
	name := "sample"
	switch parts {
	case 0:
		name = "metadata"
	case 1:
		name = "deep"
	}
	v := s.destination(d)
	if v.Kinds == nil {
		v.Kinds = map[string]*VerifyKind{}
	}
	k := v.Kinds[name]
	if k == nil {
		k = &VerifyKind{Parts: parts}
		v.Kinds[name] = k
	}
	if k.Parts != parts { // a pass over a tenth says nothing of a twentieth
		k.Parts, k.Part, k.Pass = parts, 0, nil
	}
	return k
}

// note writes down what a verify showed of a destination. One that was not there shows nothing.
func (v *verification) note(p *verifiedPlace) error {
	if p.dest == nil {
		return nil
	}
	v.state.destination(p.cfg).Last = VerifyLast{Time: v.o.Clock.Wall, Result: p.out.Result, Findings: len(p.out.Findings)}
	return v.state.save(v.Config.StateDir)
}
