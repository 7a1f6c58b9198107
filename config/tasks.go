package config

import (
	"slices"
	"strconv"
	"strings"
)

// Task is a kind of thing that the daemon does for a job on a schedule.
type Task string

// The kinds of tasks. All but a run only read.
const (
	TaskRun    Task = "run"
	TaskVerify Task = "verify"
	TaskDrill  Task = "drill"
)

// Tasks are all kinds.
func Tasks() []Task { return []Task{TaskRun, TaskVerify, TaskDrill} }

// ScheduleOf is when the job's task of a kind is made. The zero Schedule: never by itself.
func (j Job) ScheduleOf(t Task) Schedule {
	switch t {
	case TaskVerify:
		return j.Verify.Schedule
	case TaskDrill:
		return j.Drill.Schedule
	default:
		return j.Schedule
	}
}

// Verify says when the daemon verifies a job's backups, and how much of them. The zero value: never.
type Verify struct {
	Schedule Schedule
	Sample   Percent  // of the files to read each time; 0: not said
	Deep     bool     // read all files
	MaxTime  Duration // for each destination; 0: no limit
}

// Drill says when the daemon restores a backup to show that it can be. The zero value: never.
type Drill struct {
	Schedule    Schedule
	Destination string // name of the one to restore from; "": they take turns
}

// Percent is a share above 0 and up to 100, written "10%".
type Percent float64

const percentHint = `write more than 0% and at most 100%, such as "10%" or "0.5%"`

// UnmarshalText reads a share as the configuration and the command line write it.
func (p *Percent) UnmarshalText(text []byte) error {
	number, ok := strings.CutSuffix(string(text), "%")
	// Without these, ParseFloat takes "1e1", "0x1p3", "inf" and "1_0".
	if !ok || number == "" || strings.Trim(number, "0123456789.") != "" {
		return refuse(percentHint, "bad share %q", text)
	}
	n, err := strconv.ParseFloat(number, 64)
	switch {
	case err != nil:
		return refuse(percentHint, "bad share %q", text)
	case n <= 0 || n > 100:
		return refuse(percentHint, "a share cannot be %s", text)
	}
	*p = Percent(n)
	return nil
}

// UnmarshalTOML is UnmarshalText with a message of its own for a number, which may be meant as a part of 1.
func (p *Percent) UnmarshalTOML(value any) error {
	switch v := value.(type) {
	case string:
		return p.UnmarshalText([]byte(v))
	case int64, float64:
		return refuse(percentHint, "a share cannot be the bare number %v", v)
	default:
		return refuse(percentHint, "a share cannot be %s", typeName(value))
	}
}

// String is the share as the configuration writes it.
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

func (l *loader) verify(v *Verify) func(node) {
	return func(n node) {
		if l.turnedOff(n, v.Schedule) {
			*v = Verify{}
			return
		}
		*v = Verify{}
		set := l.task(n, fields{
			"schedule": l.value(&v.Schedule),
			"sample":   l.value(&v.Sample),
			"deep":     l.boolean(&v.Deep),
			"max_time": func(n node) {
				before := len(l.errors)
				l.value(&v.MaxTime)(n)
				if len(l.errors) == before {
					l.positive(n, int64(v.MaxTime))
				}
			},
		})
		if sample, ok := set["sample"]; ok && v.Deep {
			l.fail(sample.keyPlace(), `remove one of them: deep = true reads all files every time, sample = "10%" a tenth`, `"sample" and "deep" do not go together`)
		}
	}
}

func (l *loader) drill(d *Drill) func(node) {
	return func(n node) {
		if l.turnedOff(n, d.Schedule) {
			*d = Drill{}
			return
		}
		*d = Drill{}
		l.task(n, fields{
			"schedule": l.value(&d.Schedule),
			"destination": l.checked(&d.Destination, func(name string) (string, error) {
				if name == "" {
					return "", refuse("leave it out for all of them in turn", "the destination has no name")
				}
				return name, nil
			}),
		})
	}
}

// turnedOff reports whether the empty table at n keeps a job from a task that [defaults] have given it.
func (l *loader) turnedOff(n node, before Schedule) bool { return isEmptyTable(n) && !before.IsZero() }

// task reads the table of a task, which must have a schedule, and gives what set each key.
func (l *loader) task(n node, keys fields) map[string]node {
	set := map[string]node{}
	for key, read := range keys {
		keys[key] = func(n node) {
			set[key] = n
			read(n)
		}
	}
	l.table(n, keys)
	if _, ok := set["schedule"]; !ok && !l.tooMany && !misspelt(n, "schedule") {
		l.fail(n.valuePlace(), `add when to do it, such as schedule = "0 4 * * 0"`, "this %s has no schedule", n.key())
	}
	return set
}

// checkDrills refuses drills of destinations that the job does not have.
func (l *loader) checkDrills(jobs []*draft) {
	for _, d := range jobs {
		if d.Drill.Destination == "" {
			continue
		}
		var names []string
		for _, t := range d.targets {
			names = append(names, t.Name)
		}
		slices.Sort(names)
		if slices.Contains(names, d.Drill.Destination) || len(names) == 0 { // none at all is reported already
			continue
		}
		hint := "it has " + strings.Join(names, ", ")
		if near := closest(d.Drill.Destination, names); near != "" {
			hint = "did you mean " + strconv.Quote(near) + "?"
		}
		for _, n := range d.set["drill"].children() {
			if n.key() == "destination" {
				l.fail(n.valuePlace(), hint, "job %q has no destination %q to drill", d.Name, d.Drill.Destination)
			}
		}
	}
}
