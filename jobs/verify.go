package jobs

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// VerifyOptions say how much of the backups is verified. The zero value, with a clock: how they stand, names and metadata.
type VerifyOptions struct {
	Clock       Clock
	Destination string        // name; empty: all
	Deep        bool          // the data of all files, too
	Sample      float64       // or of this share of them, above 0 and up to 1: another one each time, until all had their turn
	MaxTime     time.Duration // for all destinations together; 0: none. The next verify goes on where this one was cut
}

// parts is the number of parts of which one is read; 0: none.
func (o VerifyOptions) parts() uint64 {
	switch {
	case o.Deep:
		return 1
	case o.Sample > 0:
		return uint64(max(1, 1/o.Sample+0.5))
	}
	return 0
}

// Verify holds the job's backups against what is known of them: how they stand, and what is in them. Nothing is changed, and no lock is taken that a run needs: what is being read is
// held, so that prune leaves it alone.
func (r *Runner) Verify(ctx context.Context, job config.Job, o VerifyOptions) VerifyReport {
	start := time.Now()
	v := &verification{Runner: r, job: job, o: o, start: start}
	v.report = VerifyReport{Job: job.Name, Started: o.Clock.Wall, Destinations: []VerifiedDestination{}}
	err := v.locked(ctx)
	rep := &v.report
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("stopped: %w", context.Cause(ctx))
	}
	if err != nil {
		rep.Error, rep.Hint = err.Error(), Hint(err)
	}
	rep.Ended = rep.Started.Add(time.Since(start))
	rep.settle(err)
	v.progress(Progress{Step: "done"})
	return *rep
}

// verification is one verify under way.
type verification struct {
	*Runner
	job    config.Job
	o      VerifyOptions
	start  time.Time
	source *source // nil: it cannot be looked at
	places []*verifiedPlace
	state  VerifyState
	report VerifyReport
}

func (v *verification) progress(p Progress) {
	if v.Progress != nil {
		p.Job = v.job.Name
		v.Progress(p)
	}
}

// verifiedPlace is one destination.
type verifiedPlace struct {
	cfg     config.Destination
	dest    Destination // nil: it could not be opened
	backups []Backup
	hidden  []Leftover
	catalog catalog.Catalog
	err     error
	out     VerifiedDestination
}

// locked takes the lock that keeps two verifies of a job apart, as they would write the same state.
func (v *verification) locked(ctx context.Context) error {
	if err := os.MkdirAll(v.Config.RuntimeDir, 0o700); err != nil {
		return hintf("locks live there; set runtime_dir or BTRKEEP_RUNTIME_DIR to a directory that can be written", "runtime directory: %w", err)
	}
	name := strings.TrimSuffix(filepath.Base(statePath("", v.job.SnapshotPlace())), ".json") + ".verify.lock"
	unlock, err := Lock(filepath.Join(v.Config.RuntimeDir, name), Holder{PID: os.Getpid(), Job: v.job.Name, Since: v.o.Clock.Wall})
	if err != nil {
		return err
	}
	defer unlock()
	if v.state, err = LoadVerify(v.Config.StateDir, v.job); err != nil {
		return err
	}
	if v.source, err = v.openSource(ctx, v.job); err != nil {
		v.source = nil
		v.report.Warnings = append(v.report.Warnings, fmt.Sprintf("nothing can be compared with the source's snapshots: %v", err))
	}
	defer v.source.close()
	defer v.close()
	v.open(ctx)
	return v.all(ctx)
}

// open opens all destinations: also those that are not to be verified may have a copy to compare others with.
func (v *verification) open(ctx context.Context) {
	state, _ := LoadState(v.Config.StateDir, v.job) // only where each was last
	for _, d := range v.job.Destinations {
		p := &verifiedPlace{cfg: d}
		p.out = VerifiedDestination{Name: d.Name, URL: d.URL, Compared: []string{}, StructureOnly: []string{}, Findings: []VerifyFinding{}}
		p.err = v.openPlace(ctx, p, state.Destinations[d.URL])
		v.places = append(v.places, p)
	}
}

func (v *verification) openPlace(ctx context.Context, p *verifiedPlace, last DestinationState) (err error) {
	if v.source != nil {
		p.dest, err = v.Runner.open(ctx, v.source, v.job, p.cfg, last)
	}
	// To read it, a disk may well be mounted read-only.
	if v.source == nil || errors.Is(err, syscall.EROFS) {
		p.dest, err = v.At(ctx, v.job, p.cfg)
	}
	if err != nil {
		p.dest = nil
		return err
	}
	if p.cfg.Local() { // before the list: what is in both was there at one time
		if p.catalog, err = catalog.Read(p.cfg.URL); err != nil {
			return err
		}
	}
	there, err := p.dest.List(ctx)
	p.backups, p.hidden = there.Backups, there.Leftovers
	return err
}

func (v *verification) close() {
	for _, p := range v.places {
		if p.dest != nil {
			_ = p.dest.Close()
		}
	}
}

// all verifies one destination after the other; what is left of the time is shared by those that are to come.
func (v *verification) all(ctx context.Context) error {
	todo := slices.DeleteFunc(slices.Clone(v.places), func(p *verifiedPlace) bool { return v.o.Destination != "" && p.cfg.Name != v.o.Destination })
	if len(todo) == 0 {
		return fmt.Errorf("job %s has no destination %q", v.job.Name, v.o.Destination)
	}
	present := 0
	for _, p := range todo {
		if p.err == nil {
			present++
		}
	}
	var failed error
	for _, p := range todo {
		err := p.err
		if err == nil {
			p.out.Backups = len(p.backups)
			v.structure(ctx, p)
			err = v.contents(ctx, p, v.share(present))
			present--
		}
		p.settle(err)
		failed = errors.Join(failed, v.note(p))
		v.report.Destinations = append(v.report.Destinations, p.out)
	}
	return failed
}

// share is the time for one of n destinations; 0: as long as it takes.
func (v *verification) share(n int) time.Duration {
	if v.o.MaxTime == 0 {
		return 0
	}
	return max(1, (v.o.MaxTime-time.Since(v.start))/time.Duration(n))
}

// found notes something that is wrong.
func (p *verifiedPlace) found(backup, path, format string, args ...any) {
	p.out.Findings = append(p.out.Findings, p.finding(backup, path, fmt.Sprintf(format, args...)))
}

func (p *verifiedPlace) finding(backup, path, what string) VerifyFinding {
	f := VerifyFinding{Destination: p.cfg.Name, Backup: backup, Path: path, What: what}
	if !utf8.ValidString(path) {
		f.PathBase64 = base64.StdEncoding.EncodeToString([]byte(path))
	}
	return f
}

// settle gives the destination its result.
func (p *verifiedPlace) settle(err error) {
	if err != nil {
		p.out.Error, p.out.Hint = err.Error(), Hint(err)
	}
	switch {
	case errors.Is(err, ErrAbsent):
		p.out.Result = ResultAbsent
	case err != nil, len(p.out.Findings) > 0:
		p.out.Result = ResultFailed
	case p.out.Cut != nil || p.out.Remaining > 0:
		p.out.Result = ResultIncomplete
	default:
		p.out.Result = ResultOK
	}
	slices.SortStableFunc(p.out.Findings, func(a, b VerifyFinding) int {
		return cmp.Or(strings.Compare(a.Backup, b.Backup), strings.Compare(a.Path, b.Path))
	})
}
