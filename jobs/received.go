package jobs

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs/retention"
)

// What comes from another machine says of itself when its snapshot was taken, and whoever has broken into that machine or stolen its key says what suits: backups of nothing, dated so that the good ones are
// the next to go. What this machine's kernel has noted cannot be forged: when each arrived, and in which order.
//
// A job that prunes what others keep in a directory here (config.Job.Received) goes by that alone. One that pulls believes the source as far as it agrees: no backup is older than those that came before it, nor
// younger than its arrival. So what is forged can take the place of the last good one at most, and not that of those of earlier days.

// contents lists a destination as a job sees it.
func contents(ctx context.Context, job config.Job, dest Destination) (Contents, error) {
	there, err := dest.List(ctx)
	if err == nil {
		believe(job, there.Backups)
	}
	return there, err
}

// believe puts backups in the order in which a job counts them, with the times that it believes.
func believe(job config.Job, backups []Backup) {
	if job.Received == "" && !job.Remote() {
		slices.SortStableFunc(backups, func(a, b Backup) int { return a.Taken.Compare(b.Taken) })
		return
	}
	slices.SortFunc(backups, byArrival)
	var last time.Time
	for i := range backups {
		b := &backups[i]
		if job.Received != "" || b.Taken.After(b.Created) {
			b.Taken = b.Created
		}
		if b.Own && b.Complete && b.Taken.Before(last) {
			b.Taken = last
		} else if b.Own && b.Complete {
			last = b.Taken
		}
	}
}

func byArrival(a, b Backup) int {
	return cmp.Or(cmp.Compare(a.Otransid, b.Otransid), cmp.Compare(a.ID, b.ID))
}

// decideAll decides over the backups at a destination. Where others keep theirs, it is over each source's by themselves: they must not push out each other's. The decisions are in the order of the backups.
func decideAll(job config.Job, backups []Backup, decide func([]Backup) []retention.Decision) []retention.Decision {
	if job.Received == "" {
		return decide(backups)
	}
	all := make([]retention.Decision, len(backups))
	of := map[string][]int{}
	for i, b := range backups {
		of[b.Origin] = append(of[b.Origin], i)
	}
	for _, mine := range of {
		group := make([]Backup, len(mine))
		for n, i := range mine {
			group[n] = backups[i]
		}
		for n, d := range decide(group) {
			all[mine[n]] = d
		}
	}
	return all
}

// abandoned is after how long a transfer from elsewhere that was interrupted is not expected to go on any more.
const abandoned = 30 * 24 * time.Hour

// goesOn is resumable, for a job that does not know the snapshots: whoever sends them cleans up what it does not go on with, and what nobody has come back for is useless in the end.
func goesOn(job config.Job, snapshots []Snapshot, there Contents, now time.Time) (from map[btrfs.UUID]Leftover, useless []Leftover) {
	if job.Received == "" {
		return resumable(snapshots, there)
	}
	from = map[btrfs.UUID]Leftover{}
	for _, l := range there.Leftovers {
		if l.Checkpoint == nil || now.Sub(l.Created) > abandoned {
			useless = append(useless, l)
			continue
		}
		from[l.UUID] = l
	}
	return from, useless
}
