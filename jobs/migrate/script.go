package migrate

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/btrkeep/btrkeep/config"
)

// Script translates a call of the script btrfs-backup.py: its arguments, SOURCE and DESTINATION, or a line of a crontab with them. It keeps its snapshots in SOURCE/snapshot and its backups
// in DESTINATION, both named YYMMDD-HHMMSS: those directories are gone on with.
func Script(args []string, latestOnly bool, m Machine) (*Config, error) {
	words := strings.Fields(strings.Join(args, " "))
	if len(args) == 2 { // paths may hold blanks
		words = args
	}
	c := &Config{}
	schedule, why := "@daily", "write here how often cron starts the script"
	for i, w := range words {
		if strings.HasPrefix(path.Base(w), "btrfs-backup") {
			if s := cronSchedule(words[:i]); s != "" {
				schedule, why = s, "as in the crontab"
			}
			words = words[i+1:]
			break
		}
	}
	var paths []string
	for i, w := range words {
		switch {
		case w == "--latest-only":
			latestOnly = true
		case w == "-d" || w == "--debug":
		case strings.HasPrefix(w, "-"):
			c.Notes = append(c.Notes, Note{"btrfs-backup", 0, "option " + w + " is not known: left out"})
		case strings.IndexAny(w, ">|&;") == 0 || strings.HasPrefix(w, "2>"): // the rest is the shell's
			c.Notes = append(c.Notes, Note{"btrfs-backup", 0, strings.Join(words[i:], " ") + ": what the shell did with the output has no counterpart: it is in the journal"})
			return c.script(paths, latestOnly, schedule, why, m)
		default:
			paths = append(paths, w)
		}
	}
	return c.script(paths, latestOnly, schedule, why, m)
}

// cronSchedule is the schedule in the words before a command: five fields or a descriptor, and in /etc/crontab a user.
func cronSchedule(words []string) string {
	for n := len(words); n > 0; n-- {
		var s config.Schedule
		text := strings.Join(words[:n], " ")
		if (n == 5 || n == 1 && strings.HasPrefix(text, "@")) && s.UnmarshalText([]byte(text)) == nil {
			return text
		}
	}
	return ""
}

func (c *Config) script(paths []string, latestOnly bool, schedule, why string, m Machine) (*Config, error) {
	if len(paths) < 2 || !path.IsAbs(paths[0]) || !path.IsAbs(paths[1]) {
		return nil, fmt.Errorf("no source and destination, both absolute paths, are named in %q", strings.Join(paths, " "))
	}
	source := path.Clean(paths[0])
	j := Job{Name: names{}.unique(path.Base(source), "root"), Source: source, SnapshotDir: path.Join(source, "snapshot"), NameFormat: "%y%m%d-%H%M%S", Schedule: schedule}
	j.Comment = []string{"btrfs-backup " + strings.Join(paths, " ")}
	j.Keep = Keep{All: true, Said: "as the script"}
	if latestOnly {
		j.Keep = Keep{Keep: config.Keep{Last: 1}, Said: "--latest-only"}
	}
	taken := names{}
	for _, p := range paths[1:] {
		p = path.Clean(p)
		if slices.ContainsFunc(j.Destinations, func(d Destination) bool { return d.URL == p }) {
			c.Notes = append(c.Notes, Note{"btrfs-backup", 0, "destination " + p + " is named twice: once is enough"})
			continue
		}
		j.Destinations = append(j.Destinations, Destination{Name: taken.unique(path.Base(p), "backup"), URL: p, RequireMount: m.mountAbove(p), Keep: Keep{All: true, Said: "the script deletes no backup"}})
	}
	c.Jobs = []Job{j}
	c.Head = []string{
		"Translated from a call of btrfs-backup by btrkeep import. Take the script out of cron: both would go on otherwise.", "",
		"    btrkeep check                         every mistake with its cure",
		"    btrkeep plan                          what the first run would do, and against which of the script's snapshots", "",
		"The script's snapshots and backups are taken over as they lie, and the first run is incremental. btrkeep deletes none of them, as it did not make them; its links .latest are left alone. Delete both " +
			"by hand when they are no longer wanted, after the first run is done.", "",
		"The script keeps all backups, and so does this: write another keep to have btrkeep's own pruned.", "",
		"schedule: " + why,
	}
	return c, nil
}
