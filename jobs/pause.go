package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/atomicfile"
)

// Paused is the wish that nothing be started by a schedule for a while.
type Paused struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"` // zero: until it is resumed
	By    string    `json:"by,omitempty"`   // who asked for it
}

// Text is what people are told.
func (p Paused) Text(zone *time.Location) string {
	text := "paused"
	if !p.Until.IsZero() {
		text += " until " + p.Until.In(zone).Format("Jan 02 15:04")
	}
	if p.By != "" {
		text += " by " + p.By
	}
	return text
}

// over reports whether the time has come at which a pause ends by itself.
func (p Paused) over(now time.Time) bool { return !p.Until.IsZero() && !now.Before(p.Until) }

// Pauses are those of a job. They are in a file of their own and not in the job's state, which belongs to the run under way: a job is paused just while it runs.
type Pauses struct {
	Job          *Paused           `json:"job,omitempty"`          // of all of it; nil: none
	Destinations map[string]Paused `json:"destinations,omitempty"` // by name
}

// pausesPath is beside the state, and like that outlives the job's name.
func pausesPath(dir string, job config.Job) string {
	return strings.TrimSuffix(statePath(dir, job.SnapshotPlace()), ".json") + ".paused"
}

// LoadPauses gives the pauses of a job that are in force. With an error there are none: a file that cannot be read must not keep backups from being made.
func LoadPauses(stateDir string, job config.Job, now time.Time) (Pauses, error) {
	b, err := os.ReadFile(pausesPath(stateDir, job))
	if errors.Is(err, fs.ErrNotExist) || job.Adhoc { // whose destination only happens to have a name
		return Pauses{}, nil
	} else if err != nil {
		return Pauses{}, fmt.Errorf("read pauses: %w", err)
	}
	var p Pauses
	if err := json.Unmarshal(b, &p); err != nil {
		return Pauses{}, fmt.Errorf("pauses of job %s in %s: %w", job.Name, pausesPath(stateDir, job), err)
	}
	if p.Job != nil && p.Job.over(now) {
		p.Job = nil
	}
	for name, d := range p.Destinations {
		if d.over(now) {
			delete(p.Destinations, name)
		}
	}
	return p, nil
}

// SetPause pauses a job, or with its name one destination of it, or resumes it if p is nil. It is durable when it returns, and reports whether it was paused before.
func SetPause(cfg *config.Config, job config.Job, destination string, p *Paused, now time.Time) (before bool, err error) {
	path := pausesPath(cfg.StateDir, job)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, fmt.Errorf("write pauses: %w", err)
	}
	unlock, err := Lock(path+".lock", Holder{PID: os.Getpid(), Job: job.Name, Since: now})
	if err != nil {
		return false, err
	}
	defer unlock()
	all, _ := LoadPauses(cfg.StateDir, job, now) // what cannot be read is written anew
	if destination == "" {
		before, all.Job = all.Job != nil, p
	} else {
		_, before = all.Destinations[destination]
		delete(all.Destinations, destination)
		if p != nil {
			if all.Destinations == nil {
				all.Destinations = map[string]Paused{}
			}
			all.Destinations[destination] = *p
		}
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return before, err
	}
	if err := atomicfile.Write(path, append(b, '\n')); err != nil {
		return before, fmt.Errorf("write pauses: %w", err)
	}
	return before, nil
}
