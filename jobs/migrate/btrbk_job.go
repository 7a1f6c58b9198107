package migrate

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/btrkeep/btrkeep/config"
)

// job is v as a job.
func (t *btrbkTranslation) job(v btrbkVolume) Job {
	j := Job{Name: v.job, Schedule: t.schedule, Keep: t.retention(v.section, "snapshot")}
	j.Comment = append(j.Comment, fmt.Sprintf("%s:%d: subvolume %s", t.file, v.line, v.at.path))
	if v.glob && !v.far() {
		j.Sources = []string{pattern(v.at.path)}
		j.Comment = append(j.Comment, "a job for each that matches, also for those to come; not for those whose names begin with a dot")
		t.overlaps(v, j.Sources[0])
	} else {
		j.Source = t.url(v.section, v.at)
	}
	if groups := v.groups(); groups != "" {
		j.Comment = append(j.Comment, "btrbk's groups: "+groups)
	}
	if v.value("noauto", "no") == "yes" {
		j.Schedule = ""
		j.Comment = append(j.Comment, "noauto: no schedule, so that only btrkeep run "+j.Name+" starts it")
	}
	j.OnlyIfChanged = v.value("snapshot_create", "always") == "onchange"
	t.snapshots(&j, v)
	taken := names{}
	for i, target := range v.targets {
		j.Destinations = append(j.Destinations, t.destination(&j, v, target, v.urls[i], taken))
	}
	j.Off = t.off(j, v)
	if j.Off == "" {
		t.sources[v.same(v.at)] = j.Name
	}
	return j
}

// pattern is a path of btrbk's, in which the asterisk alone means something, as path.Match has it.
func pattern(p string) string {
	return strings.NewReplacer(`\`, `\\`, "?", `\?`, "[", `\[`).Replace(p)
}

// overlaps notes the subvolumes with jobs of their own that a group has, too.
func (t *btrbkTranslation) overlaps(group btrbkVolume, pattern string) {
	for _, v := range t.found {
		if matches, _ := path.Match(pattern, v.at.path); matches && !v.glob && v.at.host == "" { // the pattern is none that could be bad
			t.note(group.line, fmt.Sprintf("its wildcards match %s, too, which has the job %s: leave it out of one of the two", v.at.path, v.job))
		}
	}
}

// off is why a job has to be commented out; "" if it has not.
func (t *btrbkTranslation) off(j Job, v btrbkVolume) string {
	twin, twice := t.sources[v.same(v.at)]
	switch {
	case v.far():
		t.note(v.line, "wildcards cannot be looked up on another machine: write a job for each subvolume")
		return "wildcards cannot be looked up on another machine. Write a job for each subvolume"
	case twice:
		t.note(v.line, "this subvolume is in job "+twin+" already: add the destinations to that")
		return "the same subvolume is in job " + twin + ": add the destinations to that"
	case v.value("snapshot_create", "always") == "no":
		return "snapshot_create no: btrkeep sends only snapshots that it makes itself. Take the # away if it shall make them"
	case len(v.targets) == 0:
		t.note(v.line, "it has no target, and btrkeep makes no snapshots without a destination: the job is commented out until you name one")
		return "btrkeep makes no snapshots without a destination. Name one, on another disk, and take the # away"
	case !j.active():
		t.note(v.line, "none of its targets can be translated, and btrkeep makes no snapshots without a destination: the job is commented out until you name one")
		return "it has no destination left. Name one, and take the # away"
	case v.value("noauto", "no") == "yes":
		o, _ := v.get("noauto")
		t.note(o.line, "noauto: job "+j.Name+" is commented out, as a schedule in [defaults], of any file, would hold for it, too")
		return "a schedule in [defaults], of any file, would hold for it, too. If there is none, take the # away"
	}
	return ""
}

// snapshots says where they go: btrbk's directory if nobody shares it.
func (t *btrbkTranslation) snapshots(j *Job, v btrbkVolume) {
	dir := t.snapshotDir(v)
	if dir.path == "" {
		o, _ := v.get("snapshot_dir")
		t.note(o.line, "snapshot_dir "+o.value+" is relative, and there is no volume: btrbk refuses it, and so it is left out")
		return
	}
	own := !v.glob && v.value("snapshot_dir", "no") != "no" && t.users[v.same(dir)] == 1 && dir.path != v.at.path
	there := fmt.Sprintf("btrbk's snapshots are %s", path.Join(dir.path, v.name+".*"))
	if !own {
		new := path.Join(v.at.path, config.DefaultSnapshotDir)
		if v.glob {
			new = config.DefaultSnapshotDir + " in each"
		}
		j.Comment = append(j.Comment, there+": parents, wherever they lie; new ones go to "+new)
		return
	}
	j.SnapshotDir = dir.path
	j.Comment = append(j.Comment, there+"; new ones go there, too")
	j.NameFormat = nameFormat(v.name, v.value("timestamp_format", "long"))
}

// nameFormat goes on with btrbk's names; "" where they do not tell the time of day, or config refuses them.
func nameFormat(name, timestamps string) string {
	stamp := map[string]string{"long": "%Y%m%dT%H%M", "long-iso": "%Y%m%dT%H%M%S%z"}[timestamps]
	format := strings.ReplaceAll(name, "%", "%%") + "." + stamp
	var f config.NameFormat
	if stamp == "" || f.UnmarshalText([]byte(format)) != nil {
		return ""
	}
	return format
}

func (t *btrbkTranslation) destination(j *Job, v btrbkVolume, target *section, url string, taken names) Destination {
	host, _, _ := strings.Cut(strings.Trim(target.place.host, "[]"), ".")
	d := Destination{Name: taken.unique(host, path.Base(target.place.path), "backup"), URL: url, Keep: t.retention(target, "target"), RateLimit: t.rate(target)}
	there := path.Join(target.place.path, v.name+".*")
	switch {
	case target.raw:
		d.URL, d.Off = "/mnt/backup/"+j.Name, "btrkeep has no raw targets. Name a directory on a btrfs, here or on another machine"
		t.note(target.line, "target raw "+target.place.path+": btrkeep has no raw targets; what lies there stays as it is")
		return d
	case target.value("noauto", "no") == "yes" && v.value("noauto", "no") != "yes":
		d.Off = "noauto: btrkeep serves all destinations of a job in each run"
		t.note(target.line, "target "+target.place.path+": noauto of a target alone is not possible: it is commented out")
	case v.glob && target.place.host == "":
		d.Comment = append(d.Comment, "btrbk's backups are "+there+": parents, as each subvolume gets a directory below")
	case t.users[target.same(target.place)] == 1 && !v.glob:
		d.Comment = append(d.Comment, "btrbk's backups are "+there+"; new ones go there, too")
	case target.place.host == "":
		d.Comment = append(d.Comment, "btrbk's backups are "+there+", which several share: parents, as the new directory is below")
	default:
		d.Comment = append(d.Comment, fmt.Sprintf("btrbk's backups are %s, which several share: parents, as the new directory is below, if the key there is for %s", there, target.place.path))
		t.note(target.line, fmt.Sprintf("target %s, for %s: several subvolumes share it. Bind the key there to all of it (btrkeep serve --root %s --append-only), or the first backup is a full one", target.place.path, j.Name, target.place.path))
	}
	if target.place.host == "" {
		d.RequireMount = t.machine.mountAbove(target.place.path)
		if v.at.host == "" && t.machine.sameDisk(v.at.path, target.place.path) {
			t.note(target.line, fmt.Sprintf("target %s is on the file system of %s itself: such a copy does not survive its disk", target.place.path, v.at.path))
		}
	}
	return d
}

// rate is a limit in the units of btrkeep; "" for none. Between machines it counts on the line, so that it is the same at which end it was set.
func (t *btrbkTranslation) rate(s *section) string {
	for _, key := range []string{"rate_limit", "rate_limit_remote"} {
		o, set := s.get(key)
		limit := strings.ToUpper(o.value)
		var size config.Size
		switch {
		case !set || limit == "NO" || strings.Trim(limit, "0KMGT") == "":
		case size.UnmarshalText([]byte(limit)) != nil:
			t.note(o.line, key+" "+o.value+" makes no sense: no limit")
		default:
			return size.String()
		}
	}
	return ""
}

// groups are those of a subvolume and of what it is in.
func (v btrbkVolume) groups() string {
	var all []string
	for s := v.section; s != nil; s = s.parent {
		all = append(all, strings.FieldsFunc(s.options["group"].value, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })...)
	}
	return strings.Join(all, " ")
}

// head is the comment at the top.
func (t *btrbkTranslation) head(jobs bool) []string {
	head := []string{
		"Translated from " + t.file + " by btrkeep import. What could not be translated is at the end.", "",
		"    systemctl disable --now btrbk.timer   or take away the line of cron that starts btrbk: both would go on otherwise",
		"    btrkeep check                         every mistake with its cure",
		"    btrkeep plan                          what the first run would do, and against which of btrbk's snapshots", "",
	}
	if !jobs {
		return head[:1]
	}
	head = append(head,
		"What btrbk has made is taken over as it lies: its snapshots and backups are found by UUID, and the first run is incremental against the newest that both sides have. "+
			"btrkeep deletes none of them, as it did not make them: they stay, and do not count in keep, until you delete them by hand (btrfs subvolume delete). Leave the newest where they are until the first run is done.", "")
	head = append(head, retentionDiffers()...)
	head = append(head, "", "schedule: "+t.why)
	if t.remote {
		head = append(head, "", "Other machines need btrkeep, too, and their keys are bound to it: docs/push-to-a-nas.md, docs/pull-from-many.md.")
	}
	for i, host := range slices.Sorted(maps.Keys(t.hosts)) {
		if i == 0 {
			head = append(head, "", "For ~root/.ssh/config:")
		}
		head = append(head, "")
		for line := range strings.SplitSeq("Host "+host+t.hosts[host], "\n") {
			head = append(head, "    "+line)
		}
	}
	return head
}
