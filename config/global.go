package config

import (
	"strings"
	"time"
)

const (
	defaultStateDir   = "/var/lib/btrkeep"
	DefaultRuntimeDir = "/run/btrkeep"
)

func defaultConfig() *Config {
	return &Config{
		Timezone:   time.Local,
		Parallel:   2,
		Checkpoint: Checkpoint{Bytes: 1 << 30, Time: Duration(time.Minute)},
		Receiver:   DefaultReceiver,
	}
}

// environment fills in the directories that no file names.
func (l *loader) environment(env func(string) string) {
	l.fromEnvironment(&l.config.StateDir, env, "BTRKEEP_STATE_DIR", "STATE_DIRECTORY", defaultStateDir)
	l.fromEnvironment(&l.config.RuntimeDir, env, "BTRKEEP_RUNTIME_DIR", "RUNTIME_DIRECTORY", DefaultRuntimeDir)
}

func (l *loader) fromEnvironment(target *string, env func(string) string, own, systemd, fallback string) {
	if *target != "" {
		return
	}
	name, value := own, env(own)
	if value == "" {
		// systemd.exec(5): a unit with several directories gets them all, separated by colons.
		name = systemd
		value, _, _ = strings.Cut(env(systemd), ":")
	}
	if value == "" {
		*target = fallback
		return
	}
	l.path(target)(node{path: []string{"$" + name}, value: value})
}

func (l *loader) timezone(target **time.Location) func(node) {
	const hint = `write a name such as "Europe/Berlin", "UTC" or "Local" (the system's); they come with the package tzdata`
	return func(n node) {
		name, ok := l.text(n)
		if !ok {
			return
		}
		loc, err := time.LoadLocation(name)
		if err != nil || name == "" {
			l.fail(n.valuePlace(), hint, "unknown time zone %q", name)
			return
		}
		*target = loc
	}
}

// MinCheckpointBytes is the least that may be sent twice: double of what a receiver reads at once, which is lost with it.
const MinCheckpointBytes = 2 << 20

func (l *loader) checkpoint(c *Checkpoint) func(node) {
	return func(n node) {
		l.table(n, fields{
			"bytes": func(n node) {
				l.value(&c.Bytes)(n)
				l.positive(n, int64(c.Bytes))
				if c.Bytes > 0 && c.Bytes < MinCheckpointBytes {
					l.fail(n.valuePlace(), `each checkpoint costs the disk a sync: write "2M" or more`, "%q is too little", n.key())
				}
			},
			"time": func(n node) {
				l.value(&c.Time)(n)
				l.positive(n, int64(c.Time))
			},
		})
	}
}

func (l *loader) positive(n node, value int64) {
	if value == 0 {
		l.fail(n.valuePlace(), "leave it out for the default", "%q cannot be zero", n.key())
	}
}

func (l *loader) textfile(target *string) func(node) {
	return l.checked(target, func(s string) (string, error) {
		path, err := cleanPath(s)
		if err == nil && !strings.HasSuffix(path, ".prom") {
			// The node exporter's textfile collector reads no other names.
			return "", refuse("let its name end in .prom, or the node exporter does not read it", "textfile %q is not a .prom file", s)
		}
		return path, err
	})
}
