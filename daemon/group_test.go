package daemon

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/config"
)

// The members of a group fall due together, whatever the jitter, begin together, take one of the places for runs, and one by one if somebody asks for one of them.
func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		machines, srv := job(t, "machines", "@hourly"), job(t, "srv", "@hourly")
		machines.Source, machines.SnapshotDir, machines.Sources = "", "", []string{"/m/web", "/m/db", "/m/mail"}
		machines.Jitter = config.Duration(20 * time.Minute)
		b := newLab(t, "2026-11-23T11:30:00Z", machines, srv)
		b.cfg.Parallel = 1
		b.fake.takes["machines:db"] = 30 * time.Minute
		b.start()
		b.passTo("2026-11-23T12:59:00Z")
		var at []string
		for _, run := range b.fake.taken() {
			at = append(at, run[9:])
		}
		if diff := cmp.Diff([]string{"srv schedule", "machines:db schedule", "machines:mail schedule", "machines:web schedule"}, at); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"machines:db machines:mail machines:web"}, b.fake.groups); diff != "" {
			t.Error(diff)
		}
		if n := len(b.loop.status().Next); n != 4 {
			t.Errorf("%v", b.loop.status().Next)
		}
		b.fake.groups = nil
		ask := func(name string) (err error) {
			if e := b.loop.call(t.Context(), func() { _, err = b.loop.request([]string{name}) }); e != nil {
				t.Fatal(e)
			}
			synctest.Wait()
			return err
		}
		if err := ask("machines:web"); err != nil {
			t.Error(err)
		}
		b.pass(time.Second)
		if err := ask("machines"); err != nil {
			t.Error(err)
		}
		if err := ask("machine"); err == nil {
			t.Error("there is no such job")
		}
		if diff := cmp.Diff([]string{"machines:web", "machines:db machines:mail machines:web"}, b.fake.groups); diff != "" {
			t.Error(diff)
		}
		b.stop()
	})
}
