package daemon

import (
	"strings"
	"syscall"
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

// One member that takes longer than the schedule keeps the others of its group, and nobody else: the next snapshots are made together again, also after one of them was run by itself.
func TestGroupStaysTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		machines, srv := job(t, "machines", "@every 2h"), job(t, "srv", "@hourly")
		machines.Source, machines.SnapshotDir, machines.Sources = "", "", []string{"/m/web", "/m/db"}
		b := newLab(t, "2026-11-23T11:30:00Z", machines, srv)
		b.fake.takes["machines:db"] = 5 * time.Hour
		b.start()
		b.passTo("2026-11-23T18:00:00Z")
		if n := len(b.fake.taken()); n != 2+7 {
			t.Errorf("%d runs", n)
		}
		b.fake.takes["machines:db"] = time.Minute
		b.passTo("2026-11-23T18:40:00Z")
		if err := b.loop.call(t.Context(), func() { _, _ = b.loop.request([]string{"machines:web"}) }); err != nil {
			t.Fatal(err)
		}
		b.passTo("2026-11-24T00:00:00Z")
		b.stop()
		for i, together := range b.fake.groups {
			if want := "machines:db machines:web"; together != want && together != "machines:web" || i != 2 && together != want {
				t.Errorf("%q", b.fake.groups)
			}
		}
		if len(b.fake.groups) < 4 {
			t.Errorf("%q", b.fake.groups)
		}
	})
}

// A file system that hangs where a pattern looks hangs neither the start, nor the watchdog, nor the other jobs; and what was known stays.
func TestGroupHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		machines, srv := job(t, "machines", "@hourly"), job(t, "srv", "@hourly")
		machines.Source, machines.SnapshotDir, machines.Sources = "", "", []string{"/m/*"}
		b := newLab(t, "2026-11-23T11:30:00Z", machines, srv)
		hang := make(chan struct{})
		b.members = func(cfg *config.Config) *config.Config {
			<-hang
			all := *cfg
			all.Jobs = []config.Job{machines.Member("/m/web"), srv}
			return &all
		}
		b.start()
		b.passTo("2026-11-23T12:30:00Z")
		b.want("12:00:00 srv schedule")
		if n := strings.Count(b.log.String(), "does a file system hang?"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		close(hang)
		b.passTo("2026-11-23T13:30:00Z")
		b.want("13:00:00 machines:web schedule", "13:00:00 srv schedule")
		hang = make(chan struct{})
		b.hup <- syscall.SIGHUP
		b.passTo("2026-11-23T14:30:00Z")
		b.want("14:00:00 machines:web schedule", "14:00:00 srv schedule")
		close(hang)
		b.stop()
	})
}
