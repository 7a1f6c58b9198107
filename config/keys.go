package config

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// draft is a job that is being read.
type draft struct {
	Job
	at      node            // the job's table
	set     map[string]node // what set each key: the job's own table, or [defaults]
	targets []*target
}

// target is a destination that is being read.
type target struct {
	Destination
	at  node
	set map[string]node
}

func newDraft() *draft {
	return &draft{Job: Job{CatchUp: true, StallTimeout: defaultStall, IOClass: IOClass{Class: ioIdle}}, set: map[string]node{}}
}

// receives reports whether it is one that prunes what others keep here, or is meant to be.
func (d *draft) receives() bool {
	_, ok := d.set["received"]
	return ok
}

// clone is a job that starts from [defaults].
func (d *draft) clone(at node) *draft {
	c := *d
	c.at = at
	c.set = maps.Clone(d.set)
	c.targets = slices.Clone(d.targets)
	return &c
}

// finish is the job that was read.
func (d *draft) finish() Job {
	j := d.Job
	if j.SnapshotDir == "" && j.Source != "" {
		j.SnapshotDir = filepath.Join(j.SourcePath(), DefaultSnapshotDir)
	}
	if j.Received != "" { // whatever [defaults] say of other jobs
		return Job{
			Name: j.Name, Received: j.Received, Schedule: j.Schedule, Jitter: j.Jitter, CatchUp: j.CatchUp, Window: j.Window, OnlyOnAC: j.OnlyOnAC, InhibitSleep: j.InhibitSleep, IOClass: j.IOClass, Timeout: j.Timeout, Keep: j.Keep, Hooks: j.Hooks, Notify: j.Notify,
			SnapshotDir: j.Received, StallTimeout: j.StallTimeout, Destinations: []Destination{{Name: ReceivedName, URL: j.Received, Keep: j.Keep}},
		}
	}
	for _, t := range d.targets {
		destination := t.Destination
		if _, ok := t.set["keep"]; !ok {
			destination.Keep = j.Keep
		}
		j.Destinations = append(j.Destinations, destination)
	}
	slices.SortFunc(j.Destinations, func(a, b Destination) int { return strings.Compare(a.Name, b.Name) })
	return j
}

// global are the keys at the top of a file.
func (l *loader) global() fields {
	c := l.config
	keys := fields{
		"timezone":    l.timezone(&c.Timezone),
		"parallel":    l.integer(&c.Parallel, 1, 64),
		"state_dir":   l.path(&c.StateDir),
		"runtime_dir": l.path(&c.RuntimeDir),
		"checkpoint":  l.checkpoint(&c.Checkpoint),
		"receiver":    l.value(&c.Receiver),
		"metrics":     l.metrics(&c.Metrics),
		"textfile":    l.textfile(&c.Textfile),
	}
	for key, read := range keys {
		keys[key] = l.once(l.globals, read)
	}
	// These two are read when all files are known: defaults hold for the jobs of every file.
	keys["defaults"] = func(n node) { l.defaults = append(l.defaults, n) }
	keys["jobs"] = func(n node) { l.jobs = append(l.jobs, n) }
	return keys
}

// once lets a key be given in one file only; what was given first is kept in seen.
func (l *loader) once(seen map[string]node, read func(node)) func(node) {
	return func(n node) {
		if first, ok := seen[n.key()]; ok {
			l.fail(n.keyPlace(), "it is given at "+first.keyPlace().String()+" already; remove one of them",
				"%q is given twice", n.path.String())
			return
		}
		seen[n.key()] = n
		read(n)
	}
}

// job are the keys of a job, and of [defaults].
func (l *loader) job(d *draft) fields {
	j := &d.Job
	keys := fields{
		"source":          l.checked(&j.Source, cleanSource),
		"sources":         l.sources(&j.Sources),
		"snapshot_dir":    l.path(&j.SnapshotDir),
		"name_format":     l.value(&j.NameFormat),
		"schedule":        l.value(&j.Schedule),
		"jitter":          l.value(&j.Jitter),
		"catch_up":        l.boolean(&j.CatchUp),
		"window":          l.value(&j.Window),
		"only_on_ac":      l.boolean(&j.OnlyOnAC),
		"inhibit_sleep":   l.boolean(&j.InhibitSleep),
		"only_if_changed": l.boolean(&j.OnlyIfChanged),
		"io_class":        l.value(&j.IOClass),
		"timeout":         l.value(&j.Timeout),
		"stall_timeout":   l.stall(&j.StallTimeout),
		"received":        l.path(&j.Received),
		"keep":            l.keep(&j.Keep),
		"verify":          l.verify(&j.Verify),
		"drill":           l.drill(&j.Drill),
		"hooks":           l.hooks(&j.Hooks),
		"notify":          l.notify(&j.Notify),
		"destination":     l.short(d),
		"destinations":    l.named(d),
	}
	for key, read := range keys {
		keys[key] = func(n node) {
			d.set[key] = n
			read(n)
		}
	}
	return keys
}

// destination are the keys of a named destination.
func (l *loader) destination(t *target) fields {
	keys := fields{
		"url":           l.url(&t.URL),
		"require_mount": l.path(&t.RequireMount),
		"max_age":       l.value(&t.MaxAge),
		"keep":          l.keep(&t.Keep),
		"rate_limit":    l.rate(&t.RateLimit),
		"encrypt_to":    l.encryptTo(&t.EncryptTo),
	}
	for key, read := range keys {
		keys[key] = func(n node) {
			t.set[key] = n
			read(n)
		}
	}
	return keys
}

// short reads destination = "…", which is short for one named default.
func (l *loader) short(d *draft) func(node) {
	return func(n node) {
		t := &target{Destination: Destination{Name: "default"}, at: n, set: map[string]node{"url": n}}
		l.url(&t.URL)(n)
		d.targets = append(d.targets, t)
	}
}

func (l *loader) named(d *draft) func(node) {
	return func(n node) {
		for _, entry := range l.entries(n) {
			t := &target{Destination: Destination{Name: entry.key()}, at: entry, set: map[string]node{}}
			l.fitName(entry, "destination")
			l.table(entry, l.destination(t))
			if _, ok := t.set["url"]; !ok && !misspelt(entry, "url") {
				l.fail(entry.keyPlace(), `add where it is, such as url = "/mnt/backup/home"`, "destination %q has no url", t.Name)
			}
			d.targets = append(d.targets, t)
		}
	}
}

func (l *loader) hooks(h *Hooks) func(node) {
	return func(n node) {
		*h = Hooks{}
		l.table(n, fields{
			"before_snapshot": l.argv(&h.BeforeSnapshot),
			"after_snapshot":  l.argv(&h.AfterSnapshot),
			"on_success":      l.argv(&h.OnSuccess),
			"on_failure":      l.argv(&h.OnFailure),
		})
	}
}

const (
	defaultStall = Duration(10 * time.Minute)
	leastStall   = Duration(10 * time.Second)
)

// stall reads how long a line may be silent. Less than what a disk may need to write something out would end what only is slow.
func (l *loader) stall(d *Duration) func(node) {
	return func(n node) {
		before := len(l.errors)
		l.value(d)(n)
		if len(l.errors) == before && *d < leastStall {
			l.fail(n.valuePlace(), "write 10s or more", "%q cannot be %s", n.key(), *d)
		}
	}
}

func (l *loader) url(target *string) func(node) { return l.checked(target, cleanURL) }

// encryptTo are recipients of age(1).
func (l *loader) encryptTo(recipients *[]string) func(node) {
	const hint = `write public keys: encrypt_to = ["age1…"] or "ssh-ed25519 …"; the secret key stays elsewhere`
	return func(n node) {
		list, ok := l.texts(n)
		if !ok {
			return
		}
		if len(list) == 0 {
			l.fail(n.valuePlace(), hint, "%q names no recipient", n.key())
			return
		}
		for _, r := range list {
			if !strings.HasPrefix(r, "age1") && !strings.HasPrefix(r, "ssh-ed25519 ") && !strings.HasPrefix(r, "ssh-rsa ") {
				at := n.valuePlace()
				// A secret key may have been put here; it must not end in a journal.
				at.text = at.upTo() + "…"
				l.fail(at, hint, "%q holds something that is not a public key", n.key())
				return
			}
		}
		*recipients = list
	}
}
