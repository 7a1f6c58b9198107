package jobs

import (
	"slices"
	"time"
)

// Results of a run and of a transfer.
const (
	ResultOK      = "ok"
	ResultPartial = "partial" // some destinations have it, others do not
	ResultFailed  = "failed"
	ResultSkipped = "skipped" // not now: the job is running already, or no destination is present
	ResultAbsent  = "absent"  // transfers only
	ResultBusy    = "busy"    // transfers only: the destination is locked by another run
	ResultPaused  = "paused"  // transfers only: the destination is paused

	ResultCancelled = "cancelled" // somebody ended it; the next run goes on with it
)

// Record is the account of one run: a line of history.jsonl, an element of `history --json`. Fields are only ever added.
//
//easyjson:json
type Record struct {
	Job       string     `json:"job"`
	Trigger   string     `json:"trigger"` // "schedule", "catch-up", "command"
	Started   time.Time  `json:"started"`
	Ended     time.Time  `json:"ended"`
	Result    string     `json:"result"`   // ok, partial, failed, skipped, cancelled
	Snapshot  string     `json:"snapshot"` // the newest snapshot of this run; empty if none could be made
	Unchanged bool       `json:"unchanged,omitempty"`
	Transfers []Transfer `json:"transfers"`
	Pruned    []Pruned   `json:"pruned"`
	Warnings  []string   `json:"warnings,omitempty"`
	Error     string     `json:"error"`
	Hint      string     `json:"hint,omitempty"`
	Locked    bool       `json:"locked,omitempty"`  // it was running already
	NotNow    bool       `json:"not_now,omitempty"` // nothing failed, but a destination was absent or a lock was held
	Stopped   bool       `json:"stopped,omitempty"` // it was ended from outside, as by the end of the daemon: it has not failed, and is still due
}

// Transfer is one attempt to bring one snapshot to one destination. A destination that already has everything leaves one with result ok and no bytes;
// an absent one leaves one with result absent.
type Transfer struct {
	Destination  string  `json:"destination"`
	Snapshot     string  `json:"snapshot"`
	Parent       string  `json:"parent"` // empty for a full send
	Bytes        int64   `json:"bytes"`  // that crossed the line in this run
	ResumedBytes int64   `json:"resumed_bytes"`
	Seconds      float64 `json:"seconds"`
	Result       string  `json:"result"`
	Error        string  `json:"error"`
	Hint         string  `json:"hint,omitempty"`
}

// Pruned is one deletion.
type Pruned struct {
	Where  string `json:"where"` // "source" or a destination's name
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// ExitStatus is what the command line makes of records: 0 done, 1 a run failed, 75 not now.
func ExitStatus(records []Record) int {
	status := 0
	for _, r := range records {
		switch {
		case r.Result == ResultFailed || r.failed():
			return 1
		case r.NotNow:
			status = 75
		}
	}
	return status
}

// uneventful reports that the run found everything done.
func (r Record) uneventful() bool {
	return r.Result == ResultOK && r.Unchanged && len(r.Pruned) == 0 && !slices.ContainsFunc(r.Transfers, func(t Transfer) bool { return t.Bytes > 0 })
}

func (r Record) failed() bool {
	if r.Error != "" && !r.NotNow {
		return true
	}
	for _, t := range r.Transfers {
		if t.Result == ResultFailed {
			return true
		}
	}
	return false
}

// Progress is what a run is doing now.
type Progress struct {
	Job         string    `json:"job"`
	Step        string    `json:"step"` // "check", "snapshot", "transfer", "sync", "prune", "done"
	Destination string    `json:"destination,omitempty"`
	Snapshot    string    `json:"snapshot,omitempty"`
	Parent      string    `json:"parent,omitempty"`
	Bytes       int64     `json:"bytes,omitempty"`
	Resumed     int64     `json:"resumed,omitempty"`  // bytes that an interrupted transfer had brought over; not in Bytes
	Estimate    int64     `json:"estimate,omitempty"` // of Resumed and Bytes at the end; 0 = not known
	Started     time.Time `json:"started"`            // of the step
}
