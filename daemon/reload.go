package daemon

import (
	"errors"
	"fmt"
	"slices"
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
		l.observe(func(o Observer) { o.Refused(l.refused) })
		l.d.Log.Error("the configuration was not reloaded: the one before stays in force", jobs.KeyEvent, EventRefused)
		return l.refused
	}
	l.refused = nil
	l.use(cfg)
	l.observe(func(o Observer) { o.Refused(nil) })
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

// use puts a configuration in force. What is under way keeps its own; a task that waits for its turn begins under the new one.
func (l *loop) use(cfg *config.Config) {
	l.loaded, l.grouped = cfg, time.Now()
	all := jobs.Members(cfg)
	for _, w := range all.Warnings {
		l.d.Log.Warn(w)
	}
	l.take(all)
}

// regroup looks which jobs the groups stand for now: subvolumes come and go. It is done every half a minute, and now if somebody asks for runs.
func (l *loop) regroup(now bool) {
	if !now && time.Since(l.grouped) < recheck || !slices.ContainsFunc(l.loaded.Jobs, config.Job.IsGroup) {
		return
	}
	l.grouped = time.Now()
	all := jobs.Members(l.loaded)
	same := slices.EqualFunc(all.Jobs, l.cfg.Jobs, func(a, b config.Job) bool { return a.Name == b.Name && a.Source == b.Source })
	if same && slices.Equal(all.Warnings, l.cfg.Warnings) {
		return
	}
	for _, w := range all.Warnings {
		if !slices.Contains(l.cfg.Warnings, w) {
			l.d.Log.Warn(w)
		}
	}
	has := func(list []config.Job, job config.Job) bool {
		return slices.ContainsFunc(list, func(other config.Job) bool { return other.Name == job.Name })
	}
	for _, job := range all.Jobs {
		if !has(l.cfg.Jobs, job) {
			l.d.Log.Info("is backed up from now on: "+job.Source, jobs.KeyJob, job.Name)
		}
	}
	for _, job := range l.cfg.Jobs {
		if !has(all.Jobs, job) {
			l.d.Log.Info("is not there any more: "+job.Source+"; its backups stay", jobs.KeyJob, job.Name)
		}
	}
	l.take(all)
}

// take takes the jobs of a configuration in the place of those before.
func (l *loop) take(cfg *config.Config) {
	before := map[key]*task{}
	for _, t := range l.tasks {
		before[t.key()] = t
	}
	l.cfg, l.runner, l.tasks = cfg, l.d.Runner(cfg), nil
	now := l.local(l.d.now())
	after := map[*task]*task{}
	for _, t := range l.allTasks() {
		old := before[t.key()]
		if old != nil {
			t.inherit(old)
			after[old] = t
		}
		if old == nil || old.job.SnapshotPlace() != t.job.SnapshotPlace() {
			l.recall(t, now)
		}
		l.tasks = append(l.tasks, t)
	}
	var queue []*task
	for _, t := range l.queue {
		if same := after[t]; same != nil {
			queue = append(queue, same)
		} else {
			l.dismiss(t, "the job was removed from the configuration")
		}
	}
	l.queue = queue
	l.observe(func(o Observer) { o.Configured(cfg) })
}

// allTasks are those of the configuration in force: a run of each job, which somebody may ask for, and what else has a schedule.
func (l *loop) allTasks() []*task {
	var all []*task
	for _, job := range l.cfg.Jobs {
		for _, kind := range config.Tasks() {
			if kind == config.TaskRun || !job.ScheduleOf(kind).IsZero() && l.d.Tasks[kind] != nil {
				all = append(all, &task{job: job, kind: kind})
			}
		}
	}
	return all
}

// recall takes from the job's state when the task was done last. If it was never met before, that is to be written down: on a machine that is on for two
// hours a day, at other times than the schedule's, that is what makes the first one due.
func (l *loop) recall(t *task, now time.Time) {
	s, err := jobs.LoadState(l.cfg.StateDir, t.job)
	was := s.Tasks[t.kind]
	if t.kind == config.TaskRun {
		was = jobs.TaskState{FirstSeen: s.FirstSeen, Last: s.LastRun}
	}
	t.last, t.seen, t.owed, t.dropped = was.Last, was.FirstSeen, was.Owed, time.Time{}
	switch {
	case err != nil && t.kind == config.TaskRun:
		l.d.Log.Warn(err.Error(), jobs.KeyJob, t.job.Name)
		t.seen = now.AddDate(-1, 0, 0) // it may have been missed for long; the run writes a state that can be read
	case err != nil:
		t.seen = now
	case t.seen.IsZero():
		t.seen = now
		l.note(t.job, func(s *jobs.State) { s.Meet(t.kind, now) })
	}
}
