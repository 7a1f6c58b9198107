package daemon

import (
	"log/slog"
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// groups looks what the groups of a configuration stand for. That reads directories, which can hang: so it is not the loop that does it, and the loop does not wait for it for long.
type groups struct {
	asked time.Time // on the monotonic clock
	busy  bool      // somebody is looking
	found chan expansion
	known *config.Config // the last that was found, of whatever configuration
	late  bool           // it has been logged that it takes long

	members func(*config.Config) *config.Config // nil: jobs.Members
}

// expansion is a configuration as it was loaded, and with the members of its groups.
type expansion struct{ loaded, all *config.Config }

// groupPatience is for how long the loop waits where it must know.
const groupPatience = 5 * time.Second

// now is a configuration with the members of its groups. If that takes too long, it has those that are known from before.
func (g *groups) now(cfg *config.Config, log *slog.Logger) *config.Config {
	if !slices.ContainsFunc(cfg.Jobs, config.Job.IsGroup) {
		return cfg
	}
	if all := g.latest(cfg, true, log); all != nil {
		return all
	}
	all := *cfg
	all.Jobs = slices.DeleteFunc(slices.Clone(cfg.Jobs), config.Job.IsGroup)
	if g.known != nil {
		for _, job := range g.known.Jobs {
			if slices.ContainsFunc(cfg.Jobs, func(j config.Job) bool { return j.IsGroup() && j.Name == job.Group }) {
				all.Jobs = append(all.Jobs, job)
			}
		}
	}
	return &all
}

// latest is what was found since it was asked last, or nil. At once, or every half a minute, it has somebody look anew; at once means to wait for that, though not for long.
func (g *groups) latest(cfg *config.Config, atOnce bool, log *slog.Logger) *config.Config {
	if !slices.ContainsFunc(cfg.Jobs, config.Job.IsGroup) {
		return nil
	}
	var all *config.Config
	select {
	case e := <-g.found:
		all = g.take(e, cfg)
	default:
	}
	if !g.busy && (atOnce || time.Since(g.asked) >= recheck) {
		g.look(cfg)
	}
	if !atOnce {
		if g.busy && !g.late && time.Since(g.asked) >= recheck {
			g.late = true
			log.Warn("it takes long to look for the subvolumes of groups: does a file system hang? Those known from before stay")
		}
		return all
	}
	for deadline := time.After(groupPatience); g.busy; {
		select {
		case e := <-g.found:
			if all = g.take(e, cfg); all == nil { // of the configuration before
				g.look(cfg)
			}
		case <-deadline:
			return all
		}
	}
	return all
}

func (g *groups) look(cfg *config.Config) {
	if g.found == nil {
		g.found = make(chan expansion, 1)
	}
	g.busy, g.asked = true, time.Now()
	members := g.members
	if members == nil {
		members = jobs.Members
	}
	go func() { g.found <- expansion{cfg, members(cfg)} }()
}

func (g *groups) take(e expansion, cfg *config.Config) *config.Config {
	g.busy, g.late = false, false
	if e.loaded != cfg {
		return nil
	}
	g.known = e.all
	return e.all
}
