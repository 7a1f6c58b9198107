package main

import (
	"bytes"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// cost is what one run of a program took: CPU is user and system time of the process and of all children that were waited for, as wait4(2)
// tells. Time of kernel threads, such as the writing of dirty pages, is in nobody's CPU.
type cost struct {
	Wall time.Duration `json:"wall_ns"`
	CPU  time.Duration `json:"cpu_ns"`
}

// spend runs a program to its end.
func spend(t testing.TB, argv []string) cost {
	t.Helper()
	var said bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, said.Bytes())
	}
	return cost{wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
}

// contestant is one way to do what is measured.
type contestant struct {
	name     string
	argv     []string
	prepare  func()   // brings the disks into the state that every run begins in
	snapshot []string // makes the snapshot, if a run does not
	check    func()   // what a run must have done; after each
}

// result is what the runs of a contestant took.
type result struct {
	Name      string `json:"name"`
	Costs     []cost `json:"runs"`
	Snapshots []cost `json:"snapshots,omitempty"` // of making the snapshots, where the runs do not include it
	Programs  int    `json:"programs,omitempty"`  // started in one run
}

// alternate runs the contestants in turns, so that whatever else the machine does meets them all.
func alternate(t testing.TB, runs int, contestants ...contestant) []result {
	results := make([]result, len(contestants))
	for range runs {
		for i, c := range contestants {
			r := &results[i]
			r.Name = c.name
			c.prepare()
			if c.snapshot != nil {
				r.Snapshots = append(r.Snapshots, spend(t, c.snapshot))
			}
			r.Costs = append(r.Costs, spend(t, c.argv))
			c.check()
		}
	}
	return results
}

func wallOf(c cost) time.Duration { return c.Wall }
func cpuOf(c cost) time.Duration  { return c.CPU }

func (r result) wall() time.Duration { return median(r.Costs, wallOf) }
func (r result) cpu() time.Duration  { return median(r.Costs, cpuOf) }

// wallWithSnapshot is comparable to a run that makes its own snapshot.
func (r result) wallWithSnapshot() time.Duration { return r.wall() + median(r.Snapshots, wallOf) }

func median(costs []cost, of func(cost) time.Duration) time.Duration {
	values := make([]time.Duration, len(costs))
	for i, c := range costs {
		values[i] = of(c)
	}
	slices.Sort(values)
	n := len(values)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return values[n/2]
	}
	return (values[n/2-1] + values[n/2]) / 2
}
