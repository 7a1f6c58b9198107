package metrics

import (
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

// A time that never came is 0, so that a job that never succeeded is there to be seen.

func jobColumns() []column[job] {
	add, list := into[job](jobLabel)
	add("btrkeep_job_last_attempt_timestamp_seconds", "Start of the last run, whatever became of it; 0: never.",
		func(j job) (float64, bool) { return timestamp(j.state.LastRun), true })
	add("btrkeep_job_last_success_timestamp_seconds", "Start of the last run that went well at all destinations; 0: never.",
		func(j job) (float64, bool) { return timestamp(j.state.LastSuccess), true })
	add("btrkeep_job_next_run_timestamp_seconds", "When the schedule asks for the next run; past, when that waits for its turn or for the daemon.",
		func(j job) (float64, bool) { next := j.next(); return timestamp(next), !next.IsZero() })
	add("btrkeep_job_running", "Whether the daemon is making a run of the job.",
		func(j job) (float64, bool) { return truth(!j.began.IsZero()), true })
	add("btrkeep_job_snapshots", "Snapshots of btrkeep at the source, after the last run.",
		func(j job) (float64, bool) { return float64(j.state.Snapshots), true })
	add("btrkeep_job_state_readable", "Whether the job's state could be read. If not, its other metrics are as if it had never run.",
		func(j job) (float64, bool) { return truth(j.readable), true })
	return *list
}

func destinationColumns() []column[destination] {
	add, list := into[destination](jobLabel, destinationLabel)
	add("btrkeep_destination_last_attempt_timestamp_seconds", "Start of the last run that tried the destination; 0: never.",
		func(d destination) (float64, bool) { return timestamp(d.LastAttempt), true })
	add("btrkeep_destination_last_success_timestamp_seconds", "Start of the last run that left nothing to be brought to the destination; 0: never.",
		func(d destination) (float64, bool) { return timestamp(d.LastSuccess), true })
	add("btrkeep_destination_newest_backup_timestamp_seconds", "When the snapshot was taken that the newest backup is of; 0: there is none.",
		func(d destination) (float64, bool) { return timestamp(d.NewestTaken), true })
	add("btrkeep_destination_max_age_seconds", "The max_age of the configuration.",
		func(d destination) (float64, bool) { return time.Duration(d.MaxAge).Seconds(), d.MaxAge > 0 })
	add("btrkeep_destination_absent_since_timestamp_seconds", "Since which run the destination could not be reached; 0: it was there.",
		func(d destination) (float64, bool) { return timestamp(d.AbsentSince), true })
	add("btrkeep_destination_backups", "Complete backups, when the destination was last there.",
		func(d destination) (float64, bool) { return float64(d.Backups), true })
	add("btrkeep_destination_backlog_snapshots", "Snapshots that the last run left to be brought over.",
		func(d destination) (float64, bool) { return float64(d.Backlog), true })
	add("btrkeep_destination_last_transfer_bytes", "Bytes that crossed the line in the last transfer that had any.",
		func(d destination) (float64, bool) { return float64(d.LastBytes), true })
	add("btrkeep_destination_last_transfer_duration_seconds", "How long that transfer took.",
		func(d destination) (float64, bool) { return d.LastSeconds, true })
	add("btrkeep_destination_size_bytes", "Size of the destination's file system, when it was last there.",
		func(d destination) (float64, bool) { return float64(d.Total), d.Total > 0 })
	add("btrkeep_destination_free_bytes", "What is free of it.",
		func(d destination) (float64, bool) { return float64(d.Free), d.Total > 0 })
	add("btrkeep_destination_full_in_seconds", "How long until it is full, if it fills up as in the last weeks.",
		func(d destination) (float64, bool) { left := d.FullIn(); return left.Seconds(), left > 0 })
	return *list
}

// proofColumns are those of verifies, or of drills, as the name says.
func proofColumns(name string) []column[jobs.Proof] {
	add, list := into[jobs.Proof](jobLabel, destinationLabel)
	add("btrkeep_"+name+"_last_attempt_timestamp_seconds", "Start of the last "+name+"; 0: never.",
		func(p jobs.Proof) (float64, bool) { return timestamp(p.Last), true })
	add("btrkeep_"+name+"_last_success_timestamp_seconds", "Start of the last "+name+" that found nothing wrong; 0: never.",
		func(p jobs.Proof) (float64, bool) { return timestamp(p.LastSuccess), true })
	add("btrkeep_"+name+"_ok", "Whether the last "+name+" found nothing wrong, and nothing is left of what one before has found.",
		func(p jobs.Proof) (float64, bool) {
			return truth(p.Result == jobs.ResultOK && len(p.Damaged) == 0), !p.Last.IsZero()
		})
	add("btrkeep_"+name+"_problems", "Problems that the last "+name+" found.",
		func(p jobs.Proof) (float64, bool) { return float64(p.Problems), true })
	add("btrkeep_"+name+"_damaged_backups", "Backups that a "+name+" found damaged, and none has found sound since.",
		func(p jobs.Proof) (float64, bool) { return float64(len(p.Damaged)), true })
	add("btrkeep_"+name+"_duration_seconds", "How long the last "+name+" took.",
		func(p jobs.Proof) (float64, bool) { return p.Seconds, !p.Last.IsZero() })
	return *list
}

// into gives what adds metrics with labels to a list, and the list.
func into[T any](labels ...string) (add func(name, help string, value func(T) (float64, bool)), list *[]column[T]) {
	list = new([]column[T])
	return func(name, help string, value func(T) (float64, bool)) {
		*list = append(*list, column[T]{&desc{name, help, gauge, labels}, value})
	}, list
}

// timestamp is a time as Prometheus has it, 0 for none.
func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
