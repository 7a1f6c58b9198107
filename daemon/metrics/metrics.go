// Package metrics tells Prometheus how the jobs stand: by HTTP whoever asks at an address, and the node exporter by a file.
//
// What the state of a job remembers is read from there each time, so that it is right whoever made the runs; no disk that holds backups is looked at. What only the
// daemon knows it tells [Metrics], which observes it. Every metric is in docs/metrics.md.
package metrics

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// jobLabel is not "job", which Prometheus gives to everything that it scrapes: it would rename ours.
const (
	jobLabel         = "btrkeep_job"
	destinationLabel = "destination"
	kindLabel        = "kind"
	resultLabel      = "result"
)

// Metrics observes the daemon (daemon.Observer), serves the address that the configuration names, and writes its textfile. Make it with [New].
type Metrics struct {
	version string
	log     *slog.Logger
	now     func() time.Time

	states  *states
	started time.Time

	mu         sync.Mutex
	cfg        *config.Config // in force; nil: not yet
	reloaded   bool           // and what could not be opened is to be tried again
	changed    bool           // since the textfile was written
	up         bool
	reloadOK   bool
	reloadTime time.Time
	runs       map[string]map[string]float64 // how many, by job and result
	durations  map[string]*durations         // of runs, by job

	work    *work
	wake    chan struct{} // there may be something to do
	closing chan struct{}
	closed  chan struct{}
}

// New makes the metrics of a daemon that starts now. They are told to nobody before the first Configured. now is the wall clock; log is told what cannot be opened or written.
func New(log *slog.Logger, version string, now func() time.Time) *Metrics {
	m := &Metrics{
		version: version, log: log, now: now, states: newStates(now), started: now(), up: true,
		runs: map[string]map[string]float64{}, durations: map[string]*durations{},
		wake: make(chan struct{}, 1), closing: make(chan struct{}), closed: make(chan struct{}),
	}
	m.work = &work{Metrics: m, failing: map[string]string{}}
	go m.work.loop()
	return m
}

// What is not of a state. Without a daemon there are only the first two.
var (
	buildInfo      = &desc{"btrkeep_build_info", "Always 1; its labels are the version and that of Go.", gauge, []string{"goversion", "version"}}
	daemonUp       = &desc{"btrkeep_daemon_up", "Whether the daemon runs. 0 in a textfile that it wrote when it stopped, or that a run without it has written.", gauge, nil}
	daemonStarted  = &desc{"btrkeep_daemon_start_time_seconds", "When the daemon was started.", gauge, nil}
	lastReloadOK   = &desc{"btrkeep_config_last_reload_successful", "Whether the configuration was taken when it was last read. If not, the one before stays in force.", gauge, nil}
	lastReloadTime = &desc{"btrkeep_config_last_reload_success_timestamp_seconds", "When the configuration in force was read.", gauge, nil}
	runsTotal      = &desc{"btrkeep_runs_total", "Runs that the daemon has made since its start, by result: ok, partial, failed, skipped, cancelled.", counter, []string{jobLabel, resultLabel}}
	runDuration    = &desc{"btrkeep_run_duration_seconds", "How long the runs took that the daemon has made since its start, those that were skipped left out.", histogram, []string{jobLabel}}
)

// text is all that there is to be told now.
func (m *Metrics) text() []byte {
	e := collect(m.states, m.version)
	m.mu.Lock()
	defer m.mu.Unlock()
	e.add(daemonUp, truth(m.up))
	e.add(daemonStarted, timestamp(m.started))
	e.add(lastReloadOK, truth(m.reloadOK))
	e.add(lastReloadTime, timestamp(m.reloadTime))
	for job, results := range m.runs {
		for result, n := range results {
			e.add(runsTotal, n, job, result)
		}
	}
	for job, times := range m.durations {
		e.put(runDuration, series{labels: []string{job}, times: times})
	}
	return e.text()
}

func collect(s *states, version string) *exposition {
	e := &exposition{}
	s.collect(e)
	e.add(buildInfo, 1, runtime.Version(), version)
	return e
}

// Configured lets the jobs of a configuration be seen from now on, also those that were never run, and no others.
func (m *Metrics) Configured(cfg *config.Config) {
	m.states.use(cfg)
	m.mu.Lock()
	first := m.cfg == nil
	m.cfg, m.reloaded, m.changed = cfg, true, true
	runs, times := map[string]map[string]float64{}, map[string]*durations{}
	for _, job := range cfg.Jobs {
		if runs[job.Name] = m.runs[job.Name]; runs[job.Name] == nil {
			runs[job.Name] = map[string]float64{jobs.ResultOK: 0, jobs.ResultPartial: 0, jobs.ResultFailed: 0, jobs.ResultSkipped: 0, jobs.ResultCancelled: 0}
		}
		if times[job.Name] = m.durations[job.Name]; times[job.Name] == nil {
			times[job.Name] = &durations{}
		}
	}
	m.runs, m.durations = runs, times
	if first { // later ones may only be members of groups that came or went
		m.taken()
	}
	m.mu.Unlock()
	m.nudge()
}

// taken notes that the configuration was read and is in force. Its caller has the lock.
func (m *Metrics) taken() { m.reloadOK, m.reloadTime = true, m.now() }

// Refused notes whether the last reload was.
func (m *Metrics) Refused(err error) {
	m.mu.Lock()
	if err == nil {
		m.taken()
	} else {
		m.reloadOK = false
	}
	m.mu.Unlock()
	m.note()
}

// Began notes that a job runs.
func (m *Metrics) Began(job config.Job, kind config.Task, at time.Time) {
	if kind == config.TaskRun {
		m.states.began(job.Name, at)
	}
}

// Ran counts a run.
func (m *Metrics) Ran(job config.Job, r jobs.Record) {
	m.states.ended(job.Name)
	m.mu.Lock()
	if results, ok := m.runs[job.Name]; ok { // else it has left the configuration meanwhile
		results[r.Result]++
		if r.Result != jobs.ResultSkipped {
			m.durations[job.Name].observe(r.Ended.Sub(r.Started).Seconds())
		}
	}
	m.mu.Unlock()
	m.note()
}

// Proved has the textfile written. What the proof showed is read from the state.
func (m *Metrics) Proved(config.Job, config.Task, string, time.Time, jobs.TaskResult) { m.note() }

// Tick has the textfile written if it is old, and an address tried again that could not be opened.
func (m *Metrics) Tick(jobs.Clock) { m.nudge() }

// Close says in the textfile that the daemon is gone, and closes the address.
func (m *Metrics) Close(ctx context.Context) {
	m.mu.Lock()
	m.up = false
	m.mu.Unlock()
	close(m.closing)
	select {
	case <-m.closed:
	case <-ctx.Done():
	}
}

// note has the textfile written soon.
func (m *Metrics) note() {
	m.mu.Lock()
	m.changed = true
	m.mu.Unlock()
	m.nudge()
}

func (m *Metrics) nudge() {
	select {
	case m.wake <- struct{}{}:
	default: // it is awake, or about to be
	}
}
