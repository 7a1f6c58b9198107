package daemon

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/config"
)

// What falls due outside of its window begins when that opens, as one run; what somebody asks for begins at once; what is under way at its end goes on.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, srv := job(t, "home", "@hourly"), job(t, "srv", "@hourly")
		home.Window = config.Window{From: 22 * time.Hour, Until: 6 * time.Hour}
		b := newLab(t, "2026-11-23T11:30:00Z", home, srv)
		b.cfg.Timezone = zone(t, "Europe/Berlin") // an hour ahead
		b.fake.takes["home"] = 90 * time.Minute
		b.start()
		b.passTo("2026-11-23T13:10:00Z")
		b.want("13:00:00 srv schedule", "14:00:00 srv schedule")
		if diff := cmp.Diff(map[string]string{"home": "outside its window 22:00-06:00"}, b.loop.status().Held); diff != "" {
			t.Error(diff)
		}
		if err := b.loop.call(t.Context(), func() { _, _ = b.loop.request([]string{"home"}) }); err != nil {
			t.Fatal(err)
		}
		b.pass(10 * time.Minute)
		b.want("14:10:00 home command")
		b.passTo("2026-11-23T20:59:00Z")
		b.fake.taken()
		b.passTo("2026-11-23T21:01:00Z")
		b.want("22:00:00 home schedule", "22:00:00 srv schedule")
		b.passTo("2026-11-24T04:59:00Z")
		b.fake.taken()
		b.passTo("2026-11-24T09:00:00Z")
		b.stop()
		for _, run := range b.fake.taken() {
			if run[9:13] == "home" && run[:2] != "06" && run[:2] != "05" {
				t.Error(run)
			}
		}
		if b.fake.most > 2 {
			t.Errorf("%d at once", b.fake.most)
		}
	})
}

// On battery nothing that is due begins, verifies included, and it does soon after the machine has been plugged in.
func TestOnlyOnAC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, srv := job(t, "home", "@hourly"), job(t, "srv", "@hourly")
		home.OnlyOnAC = true
		b := newLab(t, "2026-11-23T11:30:00Z", home, srv)
		battery := true
		b.d.OnBattery = func() bool { return battery }
		b.start()
		b.passTo("2026-11-23T14:10:00Z")
		b.want("12:00:00 srv schedule", "13:00:00 srv schedule", "14:00:00 srv schedule")
		if diff := cmp.Diff(map[string]string{"home": "on battery"}, b.loop.status().Held); diff != "" {
			t.Error(diff)
		}
		if n := strings.Count(b.log.String(), "home is due and waits: on battery"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		battery = false
		b.passTo("2026-11-23T14:11:00Z")
		if got := b.fake.taken(); len(got) != 1 || got[0][9:] != "home schedule" {
			t.Error(got)
		}
		b.stop()
	})
}
