package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ResultIncomplete is the result of a verify that was cut, or for which a destination was not there.
const ResultIncomplete = "incomplete"

// VerifyReport is the account of one verify: an element of `verify --json`. Fields are only ever added.
type VerifyReport struct {
	Job          string                `json:"job"`
	Started      time.Time             `json:"started"`
	Ended        time.Time             `json:"ended"`
	Result       string                `json:"result"` // ok, failed, incomplete, skipped
	Destinations []VerifiedDestination `json:"destinations"`
	Warnings     []string              `json:"warnings,omitempty"`
	Error        string                `json:"error"`
	Hint         string                `json:"hint,omitempty"`
}

// VerifiedDestination is what a verify showed of one destination.
type VerifiedDestination struct {
	Name          string          `json:"name"`
	URL           string          `json:"url"`
	Result        string          `json:"result"`          // ok, failed, incomplete, absent
	Begun         time.Time       `json:"begun,omitzero"`  // when the pass over the contents began that this verify went on with, or began
	Backups       int             `json:"backups"`         // that were looked at
	Compared      []string        `json:"compared"`        // backups whose contents this verify has come to the end of
	StructureOnly []string        `json:"structure_only"`  // backups for whose contents there is nothing to compare them with
	Remaining     int             `json:"remaining"`       // backups whose contents are still to be compared
	Entries       int64           `json:"entries"`         // names that were compared
	Files         int64           `json:"files"`           // whose data was read
	Bytes         int64           `json:"bytes"`           // of data that were read
	Findings      []VerifyFinding `json:"findings"`        // of this verify, and of those of the same pass before
	Cut           *VerifyPlace    `json:"cut,omitempty"`   // where the next one goes on
	Part          uint64          `json:"part,omitempty"`  // which part of the data was read, counted from 1
	Parts         uint64          `json:"parts,omitempty"` // of so many; 0: none
	Error         string          `json:"error"`           // why it could not be verified
	Hint          string          `json:"hint,omitempty"`
	sound         []string        // backups whose contents were read whole, and are right
}

// VerifyFinding is one thing that is wrong.
type VerifyFinding struct {
	Destination string `json:"destination"`
	Backup      string `json:"backup"`
	Path        string `json:"path"` // in the backup; empty: the backup itself
	PathBase64  string `json:"path_base64,omitempty"`
	What        string `json:"what"`
}

// VerifyPlace is a place in the contents of a backup.
type VerifyPlace struct {
	Backup string `json:"backup"`
	Path   string `json:"path"`
}

// settle gives the verify its result from those of its destinations.
func (rep *VerifyReport) settle(err error) {
	is := func(result string) func(VerifiedDestination) bool {
		return func(d VerifiedDestination) bool { return d.Result == result }
	}
	var held *HeldError
	switch {
	case slices.ContainsFunc(rep.Destinations, is(ResultFailed)):
		rep.Result = ResultFailed
	case errors.As(err, &held):
		rep.Result = ResultSkipped
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		rep.Result = ResultIncomplete
	case err != nil:
		rep.Result = ResultFailed
	case !slices.ContainsFunc(rep.Destinations, func(d VerifiedDestination) bool { return d.Result != ResultAbsent }):
		rep.Result = ResultSkipped
	case slices.ContainsFunc(rep.Destinations, func(d VerifiedDestination) bool { return d.Result != ResultOK }):
		rep.Result = ResultIncomplete
	default:
		rep.Result = ResultOK
	}
}

// ExitStatus is what the command line makes of it: 0 nothing is wrong as far as it was looked at; 1 something is; 75 a destination is absent, or another verify is under way.
func (rep VerifyReport) ExitStatus() int {
	switch {
	case rep.Result == ResultFailed, rep.Error != "" && rep.Result != ResultSkipped:
		return 1
	case rep.Result == ResultSkipped, slices.ContainsFunc(rep.Destinations, func(d VerifiedDestination) bool { return d.Result == ResultAbsent }):
		return 75
	}
	return 0
}

// TaskResult is what the daemon makes of the verify of one destination.
func (rep VerifyReport) TaskResult() TaskResult {
	t := TaskResult{Result: ResultOK, Error: rep.Error, Hint: rep.Hint, Seconds: rep.Ended.Sub(rep.Started).Seconds()}
	switch rep.Result {
	case ResultFailed:
		t.Result = ResultFailed
	case ResultSkipped:
		t.Result = ResultBusy
	case ResultIncomplete:
		if rep.Error != "" {
			t.Result = ResultSkipped
		}
	}
	for _, d := range rep.Destinations {
		if d.Result == ResultAbsent {
			t.Result = ResultAbsent
		}
		t.Error, t.Hint = cmp.Or(t.Error, d.Error), cmp.Or(t.Hint, d.Hint)
		t.Problems += len(d.Findings)
		t.Sound = append(t.Sound, d.sound...)
		for _, f := range d.Findings {
			t.Findings = append(t.Findings, f.String())
			if !slices.Contains(t.Damaged, f.Backup) {
				t.Damaged = append(t.Damaged, f.Backup)
			}
		}
	}
	return t
}

// String is the finding as a line of a log.
func (f VerifyFinding) String() string {
	if f.Path == "" {
		return f.Backup + ": " + f.What
	}
	return fmt.Sprintf("%s: %q: %s", f.Backup, f.Path, f.What)
}
