package migrate

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/btrkeep/btrkeep/config"
)

// SnapperDir is where snapper has its configurations, one file each.
const SnapperDir = "/etc/snapper/configs"

// File is a text with its name.
type File struct{ Name, Text string }

// Snapper translates configurations of snapper, see snapper-configs(5). snapper makes no backups: without a destination, a directory for all of them, the jobs are commented out.
func Snapper(files []File, destination string, m Machine) *Config {
	c := &Config{}
	taken := names{}
	for _, f := range files {
		if j, ok := c.snapper(f, destination, taken, m); ok {
			c.Jobs = append(c.Jobs, j)
		}
	}
	c.Head = []string{
		"Translated from snapper's configuration by btrkeep import. What could not be translated is at the end.", "",
		"    btrkeep check                         every mistake with its cure",
		"    btrkeep plan                          what the first run would do", "",
		"snapper may stay: btrkeep touches none of its snapshots, which lie in .snapshots of each subvolume, and makes its own in .btrkeep. They are parents, too: where a destination has one as its copy, " +
			"in its own directory or in one above, the first run is incremental. Else the first backup is a full one. " +
			"If btrkeep is to make the hourly ones instead, turn them off there: snapper -c NAME set-config TIMELINE_CREATE=no.", "",
		"Where retention differs from snapper's:",
		"- Of each hour, day, week, month and year snapper keeps the first, btrkeep the newest.",
		"- What is kept is counted by TIMELINE_LIMIT_*, of a range the larger number.",
	}
	return c
}

func (c *Config) snapper(f File, destination string, taken names, m Machine) (Job, bool) {
	set := map[string]setting{}
	line := 0
	for l := range strings.Lines(f.Text) {
		line++
		key, value, ok := strings.Cut(strings.TrimSpace(l), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		set[key] = setting{key, option{unquote(strings.TrimSpace(value)), line}}
		if why := snapperLost(key, set[key].value); why != "" {
			c.Notes = append(c.Notes, Note{f.Name, line, key + " " + set[key].value + ": " + why})
		}
	}
	source := set["SUBVOLUME"].value
	if source == "" || set["FSTYPE"].value != "btrfs" && set["FSTYPE"].value != "" {
		c.Notes = append(c.Notes, Note{f.Name, 0, "no SUBVOLUME on btrfs is named: left out"})
		return Job{}, false
	}
	j := Job{Name: taken.unique(path.Base(f.Name), path.Base(source)), Source: path.Clean(source), Schedule: "@daily"}
	j.Comment = []string{f.Name + ": " + j.Source}
	if set["TIMELINE_CREATE"].value == "yes" {
		j.Schedule = "@hourly"
	}
	var backups Keep // that of the job, if nothing else is said
	if set["TIMELINE_CLEANUP"].value == "yes" {
		if j.Keep = snapperKeep(set); j.Keep.IsZero() { // the newest is the parent of the next
			j.Keep.Last, backups = 1, Keep{All: true, Said: "snapper has none"}
			c.Notes = append(c.Notes, Note{f.Name, 0, "TIMELINE_LIMIT_* are all 0: at the source only the newest snapshot stays, of backups all do: say what to `keep` of them"})
		}
	} else {
		j.Keep = Keep{All: true, Said: "snapper: TIMELINE_CLEANUP no"}
	}
	if i := slices.IndexFunc(c.Jobs, func(k Job) bool { return k.Source == j.Source && k.Off == "" }); i >= 0 {
		j.Off = "the same subvolume is in job " + c.Jobs[i].Name
		c.Notes = append(c.Notes, Note{f.Name, 0, "its SUBVOLUME is in job " + c.Jobs[i].Name + " already: this job is commented out"})
	}
	if destination == "" {
		j.Off = "snapper has no destination. Name one, on another disk, and take the # away"
		c.Notes = append(c.Notes, Note{f.Name, 0, "snapper makes no backups, and btrkeep no snapshots without a destination: the job is commented out until you name one (--destination DIRECTORY)"})
		return j, true
	}
	d := Destination{Name: "backup", Keep: backups, URL: strings.TrimSuffix(destination, "/") + "/" + j.Name}
	if strings.HasPrefix(destination, "/") {
		d.RequireMount = m.mountAbove(destination)
	}
	j.Destinations = []Destination{d}
	return j, true
}

// snapperKeep is retention of the timeline; a number, or a range of which the larger one counts.
func snapperKeep(set map[string]setting) Keep {
	k := Keep{Said: "snapper: TIMELINE_LIMIT_*"}
	limit := func(key string, otherwise int) int {
		s, ok := set["TIMELINE_LIMIT_"+key]
		if !ok {
			return otherwise // snapper's own default
		}
		_, most, isRange := strings.Cut(s.value, "-")
		if !isRange {
			most = s.value
		}
		n, err := strconv.ParseUint(strings.TrimSpace(most), 10, 31)
		if err != nil {
			return otherwise
		}
		return int(n)
	}
	k.Keep = config.Keep{Hourly: limit("HOURLY", 10), Daily: limit("DAILY", 10), Weekly: limit("WEEKLY", 0), Monthly: limit("MONTHLY", 10), Yearly: limit("YEARLY", 10)}
	return k
}

// snapperLost gives what a person should know of a key that has no counterpart; "" for the others.
func snapperLost(key, value string) string {
	off := value == "" || value == "0" || value == "no"
	switch key {
	case "TIMELINE_LIMIT_QUARTERLY":
		if !off {
			return "there is no rule for quarters: raise monthly if they are to stay"
		}
	case "TIMELINE_MIN_AGE":
		if n, err := strconv.ParseUint(value, 10, 31); err == nil && n > 0 {
			return fmt.Sprintf("nothing is too young to be pruned: within = %q in keep would be that", fmt.Sprintf("%ds", n))
		}
	case "NUMBER_LIMIT", "NUMBER_LIMIT_IMPORTANT", "NUMBER_MIN_AGE", "NUMBER_CLEANUP", "EMPTY_PRE_POST_CLEANUP", "EMPTY_PRE_POST_MIN_AGE":
		if key == "NUMBER_CLEANUP" && !off {
			return "snapshots before and after the installation of packages stay snapper's"
		}
	case "SPACE_LIMIT", "FREE_LIMIT", "QGROUP":
		if !off {
			return "retention goes by time alone; `btrkeep check` tells when a destination is nearly full"
		}
	case "ALLOW_USERS", "ALLOW_GROUPS", "SYNC_ACL":
		if !off {
			return "snapshots are for root, who restores (`btrkeep restore`)"
		}
	case "SUBVOLUME", "FSTYPE", "TIMELINE_CREATE", "TIMELINE_CLEANUP", "TIMELINE_LIMIT_HOURLY", "TIMELINE_LIMIT_DAILY", "TIMELINE_LIMIT_WEEKLY", "TIMELINE_LIMIT_MONTHLY", "TIMELINE_LIMIT_YEARLY", "BACKGROUND_COMPARISON":
	default:
		return "has no counterpart"
	}
	return ""
}
