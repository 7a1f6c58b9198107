package jobs_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

func itoa(n int) string { return strconv.Itoa(n) }

// script writes an executable script and gives its argument vector.
func script(t *testing.T, body string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return []string{path, "an argument with spaces"}
}

func TestHooks(t *testing.T) {
	w := newWorld(t, 1)
	out := filepath.Join(t.TempDir(), "out")
	say := func(what string) []string {
		return script(t, `echo "`+what+` $1 job=$BTRKEEP_JOB source=$BTRKEEP_SOURCE result=$BTRKEEP_RESULT snapshot=$(basename "$BTRKEEP_SNAPSHOT")" >>`+out)
	}
	w.job.Hooks = config.Hooks{BeforeSnapshot: say("before"), AfterSnapshot: say("after"), OnSuccess: say("success"), OnFailure: say("failure")}
	r := w.mustRun()
	b, err := os.ReadFile(out)
	must(t, err)
	common := " an argument with spaces job=home source=" + w.placed().Source
	want := "before" + common + " result= snapshot=\n" +
		"after" + common + " result= snapshot=" + r.Snapshot + "\n" +
		"success" + common + " result=ok snapshot=\n"
	if string(b) != want {
		t.Errorf("hooks said:\n%s\nwant:\n%s", b, want)
	}

	t.Run("a failing before_snapshot", func(t *testing.T) {
		must(t, os.Truncate(out, 0))
		w.job.Hooks.BeforeSnapshot = script(t, "echo the database is down >&2; exit 1")
		before := len(w.snapshots())
		r := w.run()
		if r.Result == jobs.ResultOK || !strings.Contains(r.Error, "the database is down") {
			t.Errorf("%+v", r)
		}
		if len(w.snapshots()) != before {
			t.Error("a snapshot was made all the same")
		}
		if b, _ := os.ReadFile(out); !strings.HasPrefix(string(b), "after ") || !strings.Contains(string(b), "\nfailure ") {
			t.Errorf("after_snapshot thaws what before_snapshot may have frozen, on_failure tells; ran:\n%s", b)
		}
	})
}

// A run that is stopped in mid-transfer ends at once, leaves no more than what the next one goes on from, and that ends well.
func TestStoppedInMidTransfer(t *testing.T) {
	for name, stop := range map[string]func(w *world) (context.Context, context.CancelFunc){
		"cancelled": func(*world) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		},
		"timeout": func(w *world) (context.Context, context.CancelFunc) {
			w.job.Timeout = config.Duration(time.Second)
			return context.WithCancel(context.Background())
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			grow(t, filepath.Join(w.source(), "large"), 64<<20)
			w.job.Destinations[0].RateLimit.Default = 4 << 20
			ctx, cancel := stop(w)
			defer cancel()
			start := time.Now()
			r := w.runner.Run(ctx, w.placed(), jobs.Options{Clock: w.clock()})
			if took := time.Since(start); took > 8*time.Second {
				t.Errorf("took %s to stop", took)
			}
			if r.Result != jobs.ResultFailed {
				t.Errorf("%+v", r)
			}
			if name == "timeout" && !strings.Contains(r.Transfers[0].Error, "timeout") {
				t.Errorf("error %q does not name the timeout", r.Transfers[0].Error)
			}
			if tr := transfer(t, r, "d1"); tr.Bytes == 0 || tr.Bytes > 32<<20 {
				t.Errorf("rate limit of 4 MiB/s let %d bytes through in a second", tr.Bytes)
			}
			if got := w.complete(0); len(got) > 0 {
				t.Errorf("complete: %v", got)
			}
			w.onlyCheckpoints(0)
			// What was ended from outside has not failed: it is still due, and nobody is told. A timeout is a failure.
			s := w.state()
			if failed := name == "timeout"; r.Stopped == failed || s.LastRun.IsZero() == failed || (len(s.Health(w.placed(), w.now)) > 0) != failed {
				t.Errorf("stopped %v, %+v", r.Stopped, s)
			}
			w.job.Timeout, w.job.Destinations[0].RateLimit = 0, config.Rate{}
			w.mustRun()
			w.verify()
			w.clean(0)
		})
	}
}

func TestHistory(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		must(t, jobs.AppendHistory(dir, jobs.Record{Job: []string{"a", "b", "a"}[i], Snapshot: itoa(i)}))
	}
	// A power cut tore the last line; the next one is whole again.
	f, err := os.OpenFile(filepath.Join(dir, "history.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(`{"job":"a","snap`)
	must(t, errors.Join(err, f.Close()))
	must(t, jobs.AppendHistory(dir, jobs.Record{Job: "a", Snapshot: "3"}))
	records, err := jobs.History(dir, "a")
	must(t, err)
	var got []string
	for _, r := range records {
		got = append(got, r.Snapshot)
	}
	if strings.Join(got, " ") != "3 2 0" {
		t.Errorf("newest first: %v", got)
	}
}

func TestExitStatus(t *testing.T) {
	tests := []struct {
		name    string
		records []jobs.Record
		want    int
	}{
		{"none", nil, 0},
		{"ok", []jobs.Record{{Result: jobs.ResultOK}}, 0},
		{"absent", []jobs.Record{{Result: jobs.ResultPartial, NotNow: true}}, 75},
		{"locked", []jobs.Record{{Result: jobs.ResultSkipped, NotNow: true, Error: "held"}}, 75},
		{"failed beats absent", []jobs.Record{{Result: jobs.ResultPartial, NotNow: true}, {Result: jobs.ResultFailed, Error: "x"}}, 1},
		{"one destination failed, another is absent", []jobs.Record{{Result: jobs.ResultFailed, NotNow: true, Transfers: []jobs.Transfer{{Result: jobs.ResultFailed}, {Result: jobs.ResultAbsent}}}}, 1},
		{"one destination failed, another is well", []jobs.Record{{Result: jobs.ResultPartial, Transfers: []jobs.Transfer{{Result: jobs.ResultFailed}, {Result: jobs.ResultOK}}}}, 1},
	}
	for _, tt := range tests {
		if got := jobs.ExitStatus(tt.records); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
