package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPercent(t *testing.T) {
	for text, want := range map[string]Percent{"10%": 10, "0.5%": 0.5, "100%": 100, ".25%": 0.25, "007%": 7} {
		var p Percent
		if err := p.UnmarshalText([]byte(text)); err != nil || p != want {
			t.Errorf("%q: %v, %v", text, p, err)
		}
		var again Percent
		if err := again.UnmarshalText([]byte(p.String())); err != nil || again != p {
			t.Errorf("%q became %q: %v, %v", text, p, again, err)
		}
	}
	for _, text := range []string{"", "%", "10", "10 %", " 10%", "0%", "0.000%", "100.1%", "-1%", "+1%", "1e1%", "0x10%", "inf%", "NaN%", "1_0%", "1.2.3%", ".%", "10%%", "٣%"} {
		p := Percent(7)
		if err := p.UnmarshalText([]byte(text)); err == nil || p != 7 {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
}

// A job's verify and drill take the place of those in [defaults], whole; an empty one keeps the job from it.
func TestTasks(t *testing.T) {
	c := loadText(t, `
[defaults]
keep   = { last = 1 }
verify = { schedule = "0 4 * * 0", sample = "2.5%", max_time = "30m" }
drill  = { schedule = "@monthly" }

[jobs.both]
source      = "/both"
destination = "/mnt/both"

[jobs.none]
source      = "/none"
destination = "/mnt/none"
verify      = {}
drill       = {}

[jobs.own]
source = "/own"
drill  = { schedule = "@yearly", destination = "usb" }
[jobs.own.verify]
schedule = "@daily"
deep     = true
[jobs.own.destinations.usb]
url = "/mnt/own"
`)
	type tasks struct {
		Verify Verify
		Drill  Drill
	}
	got := map[string]tasks{}
	for _, j := range c.Jobs {
		got[j.Name] = tasks{j.Verify, j.Drill}
	}
	want := map[string]tasks{
		"both": {Verify{Schedule: mustSchedule(t, "0 4 * * 0"), Sample: 2.5, MaxTime: Duration(30 * time.Minute)}, Drill{Schedule: mustSchedule(t, "@monthly")}},
		"none": {},
		"own":  {Verify{Schedule: mustSchedule(t, "@daily"), Deep: true}, Drill{Schedule: mustSchedule(t, "@yearly"), Destination: "usb"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	own := c.Jobs[2]
	if own.ScheduleOf(TaskVerify) != own.Verify.Schedule || own.ScheduleOf(TaskDrill) != own.Drill.Schedule || own.ScheduleOf(TaskRun) != own.Schedule {
		t.Errorf("schedules of %+v", own)
	}
}
