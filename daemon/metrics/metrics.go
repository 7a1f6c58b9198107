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

	"github.com/prometheus/client_golang/prometheus"

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

	registry   *prometheus.Registry
	states     *states
	runs       *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	up         prometheus.Gauge
	reloadOK   prometheus.Gauge
	reloadTime prometheus.Gauge

	mu       sync.Mutex
	cfg      *config.Config // in force; nil: not yet
	reloaded bool           // and what could not be opened is to be tried again
	changed  bool           // since the textfile was written

	work    *work
	wake    chan struct{} // there may be something to do
	closing chan struct{}
	closed  chan struct{}
}

// New makes the metrics of a daemon that starts now. They are told to nobody before the first Configured. now is the wall clock; log is told what cannot be opened or written.
func New(log *slog.Logger, version string, now func() time.Time) *Metrics {
	m := &Metrics{
		version: version, log: log, now: now,
		registry: prometheus.NewRegistry(),
		states:   newStates(now),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "btrkeep_runs_total", Help: "Runs that the daemon has made since its start, by result: ok, partial, failed, skipped, cancelled.",
		}, []string{jobLabel, resultLabel}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "btrkeep_run_duration_seconds", Help: "How long the runs took that the daemon has made since its start, those that were skipped left out.",
			Buckets: []float64{1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600},
		}, []string{jobLabel}),
		up: upGauge(),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "btrkeep_config_last_reload_successful", Help: "Whether the configuration was taken when it was last read. If not, the one before stays in force.",
		}),
		reloadTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "btrkeep_config_last_reload_success_timestamp_seconds", Help: "When the configuration in force was read.",
		}),
		wake: make(chan struct{}, 1), closing: make(chan struct{}), closed: make(chan struct{}),
	}
	started := prometheus.NewGauge(prometheus.GaugeOpts{Name: "btrkeep_daemon_start_time_seconds", Help: "When the daemon was started."})
	started.Set(timestamp(now()))
	m.up.Set(1)
	m.registry.MustRegister(m.states, m.runs, m.durations, m.up, started, m.reloadOK, m.reloadTime, buildInfo(version))
	m.work = &work{Metrics: m, failing: map[string]string{}}
	go m.work.loop()
	return m
}

// upGauge is 0 until it is set.
func upGauge() prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "btrkeep_daemon_up", Help: "Whether the daemon runs. 0 in a textfile that it wrote when it stopped, or that a run without it has written.",
	})
}

func buildInfo(version string) prometheus.Collector {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "btrkeep_build_info", Help: "Always 1; its labels are the version and that of Go."}, []string{"version", "goversion"})
	info.WithLabelValues(version, runtime.Version()).Set(1)
	return info
}

// Configured lets the jobs of a configuration be seen from now on, also those that were never run, and no others.
func (m *Metrics) Configured(cfg *config.Config) {
	m.mu.Lock()
	before := m.cfg
	m.cfg, m.reloaded, m.changed = cfg, true, true
	m.mu.Unlock()
	kept := map[string]bool{}
	for _, job := range cfg.Jobs {
		kept[job.Name] = true
		m.durations.WithLabelValues(job.Name)
		for _, result := range []string{jobs.ResultOK, jobs.ResultPartial, jobs.ResultFailed, jobs.ResultSkipped, jobs.ResultCancelled} {
			m.runs.WithLabelValues(job.Name, result)
		}
	}
	if before != nil {
		for _, job := range before.Jobs {
			if !kept[job.Name] {
				m.forget(job.Name)
			}
		}
	}
	m.states.use(cfg)
	if before == nil { // later ones may only be members of groups that came or went
		m.taken()
	}
	m.nudge()
}

// taken notes that the configuration was read and is in force.
func (m *Metrics) taken() {
	m.reloadOK.Set(1)
	m.reloadTime.Set(timestamp(m.now()))
}

func (m *Metrics) forget(job string) {
	m.runs.DeletePartialMatch(prometheus.Labels{jobLabel: job})
	m.durations.DeleteLabelValues(job)
}

// Refused notes whether the last reload was.
func (m *Metrics) Refused(err error) {
	if err == nil {
		m.taken()
	} else {
		m.reloadOK.Set(0)
	}
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
	if !m.states.has(job.Name) { // it has left the configuration meanwhile
		return
	}
	m.runs.WithLabelValues(job.Name, r.Result).Inc()
	if r.Result != jobs.ResultSkipped {
		m.durations.WithLabelValues(job.Name).Observe(r.Ended.Sub(r.Started).Seconds())
	}
	m.note()
}

// Proved has the textfile written. What the proof showed is read from the state.
func (m *Metrics) Proved(config.Job, config.Task, string, time.Time, jobs.TaskResult) { m.note() }

// Tick has the textfile written if it is old, and an address tried again that could not be opened.
func (m *Metrics) Tick(jobs.Clock) { m.nudge() }

// Close says in the textfile that the daemon is gone, and closes the address.
func (m *Metrics) Close(ctx context.Context) {
	m.up.Set(0)
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
