package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

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
	src, err := r.openSource(ctx, job)
	defer src.close()
	switch {
	case errors.Is(err, ErrAbsent):
		add(LevelNote, Hint(err), "source: %v", err)
	case err != nil:
		add(LevelError, Hint(err), "%v", err)
	case src.origin != nil:
		found = append(found, examine(job, "source", src.origin)...)
		if w := src.nestedWarning(); w != "" {
			add(LevelWarning, "", "%s", w)
		}
		if src.FileSystem.Quotas {
			add(LevelNote, "`btrfs quota disable` if nothing needs them", "quotas are on at %s: deleting snapshots is about ten times slower", job.Source)
		}
	}
	state, err := LoadState(r.Config.StateDir, job)
	if err != nil {
		add(LevelWarning, "", "%v", err)
	}
	for _, d := range job.Destinations {
		if src == nil && d.Local() && !job.Remote() {
			break // where the source should be has been said
		}
		last := state.Destinations[d.URL]
		dest, err := r.open(ctx, src, job, d, last)
		switch {
		case errors.Is(err, ErrAbsent):
			add(LevelNote, Hint(err), "destination %s: %v", d.Name, err)
			continue
		case err != nil:
			add(LevelError, Hint(err), "destination %s: %v", d.Name, err)
			continue
		}
		found = append(found, r.checkDestination(job.Name, d, dest.Identity())...)
		found = append(found, examine(job, "destination "+d.Name, dest)...)
		if _, err := dest.StreamVersion(ctx); err != nil {
			add(LevelError, Hint(err), "destination %s: %v", d.Name, err)
		}
		_ = dest.Close()
	}
	return found
}

// examiner is a place that knows itself what could be amiss there, as one on another machine does.
type examiner interface {
	// Examine gives what is amiss there and does not show by itself; Job is not filled in, and Text begins without the name of the place.
	Examine(job config.Job) []Finding
}

func examine(job config.Job, where string, place any) []Finding {
	e, ok := place.(examiner)
	if !ok {
		return nil
	}
	found := e.Examine(job)
	for i := range found {
		found[i].Job, found[i].Text = job.Name, where+": "+found[i].Text
	}
	return found
}

func (r *Runner) checkDestination(job string, d config.Destination, id Identity) []Finding {
	var found []Finding
	if id.Total > 0 && id.Free < id.Total/20 {
		found = append(found, Finding{job, LevelWarning, fmt.Sprintf("destination %s: only %d %% of the disk are free", d.Name, 100*id.Free/id.Total), "make its `keep` smaller, or get a larger disk"})
	}
	if !d.Local() {
		return found
	}
	if fsys, err := r.View.files().Stat(id.MountPoint); err == nil && fsys.Quotas {
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
