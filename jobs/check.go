package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
)

// Levels of a finding.
const (
	LevelError   = "error"
	LevelWarning = "warning"
	LevelNote    = "note"
)

// Finding is one thing that `check` has to say, with its cure.
type Finding struct {
	Job   string `json:"job,omitempty"`
	Level string `json:"level"` // error, warning, note
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
}

// Check looks at what a job needs of the machine and changes nothing.
func (r *Runner) Check(ctx context.Context, job config.Job) []Finding {
	var found []Finding
	add := func(level, hint, format string, args ...any) {
		found = append(found, Finding{Job: job.Name, Level: level, Text: fmt.Sprintf(format, args...), Hint: hint})
	}
	src, err := openSource(job, r.Config.Timezone)
	if err != nil {
		add(LevelError, Hint(err), "%v", err)
	} else {
		if w := src.nestedWarning(); w != "" {
			add(LevelWarning, "", "%s", w)
		}
		if src.fsys.Quotas {
			add(LevelNote, "`btrfs quota disable` if nothing needs them", "quotas are on at %s: deleting snapshots is about ten times slower", job.Source)
		}
	}
	state, err := LoadState(r.Config.StateDir, job)
	if err != nil {
		add(LevelWarning, "", "%v", err)
	}
	for _, d := range job.Destinations {
		last := state.Destinations[d.URL]
		dest, err := r.Open(ctx, job, d, Identity{FileSystem: last.FileSystem, MountPoint: last.MountPoint})
		switch {
		case errors.Is(err, ErrAbsent):
			add(LevelNote, Hint(err), "destination %s: %v", d.Name, err)
			continue
		case err != nil:
			add(LevelError, Hint(err), "destination %s: %v", d.Name, err)
			continue
		}
		found = append(found, checkDestination(job.Name, d, dest.Identity())...)
		if _, err := dest.StreamVersion(ctx); err != nil {
			add(LevelError, Hint(err), "destination %s: %v", d.Name, err)
		}
		_ = dest.Close()
	}
	return found
}

func checkDestination(job string, d config.Destination, id Identity) []Finding {
	var found []Finding
	if id.Total > 0 && id.Free < id.Total/20 {
		found = append(found, Finding{job, LevelWarning, fmt.Sprintf("destination %s: only %d %% of the disk are free", d.Name, 100*id.Free/id.Total), "make its `keep` smaller, or get a larger disk"})
	}
	if fsys, err := btrfs.Stat(id.MountPoint); err == nil && fsys.Quotas {
		found = append(found, Finding{job, LevelNote, fmt.Sprintf("destination %s: quotas are on: deleting backups is about ten times slower", d.Name), "`btrfs quota disable` if nothing needs them"})
	}
	st, err := os.Stat(d.URL)
	if err != nil {
		return found // made by the first run
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && (int(sys.Uid) != os.Geteuid() || st.Mode().Perm()&0o022 != 0) {
		found = append(found, Finding{job, LevelWarning, fmt.Sprintf("destination %s: others than root can write into %s, and so change a backup while it is being received", d.Name, d.URL), "chown root " + d.URL + " && chmod 0700 " + d.URL})
	}
	return found
}

// NextRuns are the next n times at which the job's schedule fires.
func NextRuns(job config.Job, now time.Time, n int) []time.Time {
	times := []time.Time{}
	for at := now; len(times) < n; {
		at = job.Schedule.Next(at, now)
		if at.IsZero() {
			break
		}
		times = append(times, at)
	}
	return times
}
