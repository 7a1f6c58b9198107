package daemon

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// ReloadError is a configuration that was not taken.
type ReloadError struct {
	Mistakes []string // each with its position, line and hint
}

func (e *ReloadError) Error() string { return strings.Join(e.Mistakes, "\n") }

// reload puts a new configuration in the place of the old one, or keeps that if the new one has mistakes. It logs what it does.
func (l *loop) reload() error {
	if l.stop {
		return errStopping
	}
	l.manager.reloading()
	defer l.manager.ready()
	cfg, err := l.d.Load()
	if err == nil {
		err = l.fits(cfg)
	}
	if err != nil {
		l.refused = &ReloadError{mistakes(err)}
		for _, m := range l.refused.Mistakes {
			l.d.Log.Error(m, jobs.KeyEvent, EventRefused)
		}
		l.d.Log.Error("the configuration was not reloaded: the one before stays in force", jobs.KeyEvent, EventRefused)
		return l.refused
	}
	l.refused = nil
	l.use(cfg)
	l.d.Log.Info(fmt.Sprintf("configuration reloaded: %d jobs", len(cfg.Jobs)), jobs.KeyEvent, EventReloaded)
	return nil
}

// fits refuses what needs a restart: locks, socket and state are where they were at the start, and a run under way relies on that.
func (l *loop) fits(cfg *config.Config) error {
	var errs config.Errors
	for _, dir := range []struct{ key, old, new string }{
		{"state_dir", l.cfg.StateDir, cfg.StateDir},
		{"runtime_dir", l.cfg.RuntimeDir, cfg.RuntimeDir},
	} {
		if dir.old != dir.new {
			errs = append(errs, &config.Error{
				File: l.d.ConfigPath, Msg: fmt.Sprintf("%s changed from %s to %s, which a reload cannot do", dir.key, dir.old, dir.new),
				Hint: "restart the daemon: systemctl restart btrkeep",
			})
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

// mistakes are the texts of all errors of a configuration.
func mistakes(err error) []string {
	all, ok := errors.AsType[config.Errors](err)
	if !ok {
		return []string{err.Error()}
	}
	var texts []string
	for _, one := range all {
		texts = append(texts, one.Error())
	}
	return texts
}

// use puts a configuration in force. Runs under way keep theirs; a job that waits for its turn runs under the new one.
func (l *loop) use(cfg *config.Config) {
	for _, w := range cfg.Warnings {
		l.d.Log.Warn(w)
	}
	before := map[string]*entry{}
	for _, e := range l.entries {
		before[e.job.Name] = e
	}
	l.cfg, l.runner, l.entries = cfg, l.d.Runner(cfg), nil
	now := l.local(l.d.now())
	after := map[*entry]*entry{}
	for _, job := range cfg.Jobs {
		e := &entry{job: job}
		if old := before[job.Name]; old != nil {
			e.waiting, e.trigger, e.clients = old.waiting, old.trigger, old.clients
			e.last, e.seen, e.dropped, e.isNew = old.last, old.seen, old.dropped, old.isNew
			after[old] = e
		}
		if old := before[job.Name]; old == nil || old.job.SnapshotDir != job.SnapshotDir {
			l.recall(e, now)
		}
		l.entries = append(l.entries, e)
	}
	var queue []*entry
	for _, e := range l.queue {
		if same := after[e]; same != nil {
			queue = append(queue, same)
		} else {
			l.dismiss(e, "the job was removed from the configuration")
		}
	}
	l.queue = queue
}

// recall takes from its state when a job ran last.
func (l *loop) recall(e *entry, now time.Time) {
	s, err := jobs.LoadState(l.cfg.StateDir, e.job)
	e.last, e.seen, e.dropped, e.isNew = s.LastRun, s.FirstSeen, time.Time{}, false
	switch {
	case err != nil:
		l.d.Log.Warn(err.Error(), jobs.KeyJob, e.job.Name)
		e.seen = now.AddDate(-1, 0, 0) // it may have been missed for long; the run writes a state that can be read
	case e.seen.IsZero():
		e.seen, e.isNew = now, true
	}
}

// introduce writes down when a job was met first, if there is one for which that has not been done, and reports whether there was. On a machine that is
// on for two hours a day, at other times than the schedule's, that is what makes the first run due.
//
// One at a time, because each waits for the disk; and by the loop, so that it never holds a job's lock while a run of the job begins.
func (l *loop) introduce() bool {
	for _, e := range l.entries {
		if !e.isNew || l.running[e.job.Name] != nil {
			continue
		}
		e.isNew = false
		err := remember(l.cfg, e.job, func(s *jobs.State) {
			if s.FirstSeen.IsZero() {
				s.FirstSeen = e.seen
			}
		})
		if _, held := errors.AsType[*jobs.HeldError](err); err != nil && !held { // a run by someone else is as good: it leaves its own time
			l.d.Log.Warn(err.Error(), jobs.KeyJob, e.job.Name)
		}
		return true
	}
	return false
}
