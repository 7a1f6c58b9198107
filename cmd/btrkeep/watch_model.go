package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/daemon"
	"github.com/btrkeep/btrkeep/jobs"
)

// watcher is what watch knows. It belongs to the goroutine that draws; others go through tell.
type watcher struct {
	app    *app
	cfg    *config.Config
	list   []config.Job
	events chan func()
	done   bool

	all     []jobs.Status // as the disks were when they were looked at
	looked  time.Time
	looking bool
	status  daemon.Status
	deaf    error // why the daemon does not answer; nil: it does
	rates   map[string]*rate

	chosen  int  // of list
	asking  bool // whether to cancel the chosen job
	message string
}

// rate is how fast a transfer is, by the last seconds.
type rate struct {
	snapshot string
	at       []time.Time
	bytes    []int64
}

// rateSpan is how many samples a rate is made of.
const rateSpan = 10

func (r *rate) note(p jobs.Progress, now time.Time) {
	if r.snapshot != p.Snapshot {
		*r = rate{snapshot: p.Snapshot}
	}
	r.at, r.bytes = append(r.at, now), append(r.bytes, p.Bytes)
	if n := len(r.at) - rateSpan; n > 0 {
		r.at, r.bytes = slices.Delete(r.at, 0, n), slices.Delete(r.bytes, 0, n)
	}
}

// perSecond is in bytes; 0 if it is not known yet.
func (r *rate) perSecond() float64 {
	n := len(r.at)
	if n < 2 || !r.at[n-1].After(r.at[0]) {
		return 0
	}
	return float64(r.bytes[n-1]-r.bytes[0]) / r.at[n-1].Sub(r.at[0]).Seconds()
}

// hear takes in what the daemon says. When a run has ended, the disks are looked at.
func (w *watcher) hear(ctx context.Context, status daemon.Status, err error, now time.Time) {
	before := running(w.status)
	w.status, w.deaf = status, err
	rates := map[string]*rate{}
	for _, p := range status.Running {
		key := p.Job + "/" + p.Destination
		r := w.rates[key]
		if r == nil {
			r = &rate{}
		}
		r.note(p, now)
		rates[key] = r
	}
	w.rates = rates
	ended := !slices.Equal(before, running(status))
	if !w.looking && !w.looked.IsZero() && (ended || now.Sub(w.looked) > lookEvery) {
		w.looking = true
		w.background(ctx, func() { w.look(ctx) })
	}
}

// running are the jobs that the daemon is at work for.
func running(s daemon.Status) []string {
	names := map[string]bool{}
	for _, p := range s.Running {
		names[p.Job] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// now is how jobs stand at a moment: what was seen of the disks, the daemon's word, and what is paused.
func (w *watcher) now(now time.Time) []jobs.Status {
	all := slices.Clone(w.all)
	for i := range all {
		s := &all[i]
		s.Destinations = slices.Clone(s.Destinations)
		p, _ := jobs.LoadPauses(w.cfg.StateDir, w.list[i], now) // that it cannot be read is in s.Error
		s.Paused = p.Job
		s.Expect(s.NextRun, now)
		for j := range s.Destinations {
			d := &s.Destinations[j]
			d.Paused = nil
			if one, ok := p.Destinations[d.Name]; ok {
				d.Paused = &one
			}
			if !d.NewestTime.IsZero() {
				d.AgeSeconds = int64(now.Sub(d.NewestTime).Seconds())
			}
		}
	}
	merge(w.cfg, all, w.status, now)
	return all
}

// Keys that are more than a letter.
const (
	keyUp   = "up"
	keyDown = "down"
	keyQuit = "quit"
)

// keysOf are the keys in what a terminal sent.
func keysOf(b []byte) (keys []string) {
	for len(b) > 0 {
		n := 1
		key := string(b[:1])
		switch {
		case b[0] == 3 || b[0] == 4: // Ctrl-C, Ctrl-D
			key = keyQuit
		case len(b) >= 3 && b[0] == 0x1b && (b[1] == '[' || b[1] == 'O'):
			n = 3
			for n < len(b) && (b[n-1] < '@' || b[n-1] > '~') { // parameters, then one final byte
				n++
			}
			key = map[byte]string{'A': keyUp, 'B': keyDown}[b[n-1]]
		}
		keys, b = append(keys, key), b[n:]
	}
	return keys
}

// press does what a key is for.
func (w *watcher) press(ctx context.Context, key string) {
	asking := w.asking
	w.asking, w.message = false, ""
	if asking && key == "y" {
		w.act(ctx, w.cancel)
		return
	}
	switch key {
	case "q", "Q", keyQuit:
		w.done = true
	case keyUp, "k":
		w.chosen = max(0, w.chosen-1)
	case keyDown, "j":
		w.chosen = min(len(w.list)-1, w.chosen+1)
	case "s":
		w.act(ctx, w.start)
	case "p":
		w.act(ctx, w.pause)
	case "c":
		w.asking = len(w.list) > 0
	}
}

// act does something with the chosen job, beside the drawing, and shows what came of it.
func (w *watcher) act(ctx context.Context, do func(context.Context, config.Job) (string, error)) {
	if len(w.list) == 0 {
		return
	}
	job := w.list[w.chosen]
	w.background(ctx, func() {
		text, err := do(ctx, job)
		if errors.Is(err, daemon.ErrNotRunning) {
			err = errors.New("the daemon is not running")
		}
		if err != nil {
			text = err.Error()
		}
		w.tell(ctx, func() { w.message = job.Name + ": " + oneLine(text) })
	})
}

// start has the daemon run a job. It says how that ended.
func (w *watcher) start(ctx context.Context, job config.Job) (string, error) {
	client, _, err := daemonOf(ctx, w.cfg)
	if err != nil {
		return "", err
	}
	w.tell(ctx, func() { w.message = job.Name + ": started" })
	records, err := client.Run(ctx, []string{job.Name}, nil)
	if err != nil {
		return "", err
	}
	text := ""
	for _, r := range records {
		if text = r.Result; r.Error != "" {
			text += ": " + r.Error
		}
	}
	return text, nil
}

func (w *watcher) cancel(ctx context.Context, job config.Job) (string, error) {
	client, _, err := daemonOf(ctx, w.cfg)
	if err != nil {
		return "", err
	}
	return "cancelled", client.Cancel(ctx, job.Name, w.app.person())
}

// pause pauses a job, or resumes it.
func (w *watcher) pause(ctx context.Context, job config.Job) (string, error) {
	now := time.Now()
	p, _ := jobs.LoadPauses(w.cfg.StateDir, job, now) // what cannot be read is written anew
	if p.Job != nil {
		_, err := jobs.SetPause(w.cfg, job, "", nil, now)
		if client, err := daemon.Dial(w.cfg.RuntimeDir); err == nil { // which looks at what is due whenever it was asked something
			_, _ = client.Status(ctx)
		}
		return "resumed", err
	}
	pause := &jobs.Paused{Since: now.UTC().Round(0), By: w.app.person()}
	_, err := jobs.SetPause(w.cfg, job, "", pause, now)
	return pause.Text(w.cfg.Timezone), err
}

// question is what is asked of the user, or what there is to tell.
func (w *watcher) question() string {
	if w.asking {
		return fmt.Sprintf("cancel what is under way of %s? The next run goes on with it. (y/n)", w.list[w.chosen].Name)
	}
	return w.message
}
