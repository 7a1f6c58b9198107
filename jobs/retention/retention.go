// Package retention decides which snapshots to keep. It is pure: it reads no clock and no disk.
//
// The newest of each bucket is kept, not the oldest, as restic and borg do. When a snapshot is taken it is
// the newest of its hour, day, week, month and year at once, and what is the newest of a bucket that is
// over stays so for ever. Nothing that a coarse rule will want later is thus ever given up to a fine one,
// and planning after each snapshot for years ends with the very set that planning once would choose.
package retention

import (
	"time"

	"github.com/btrkeep/btrkeep/config"
)

// Item is one snapshot or backup.
type Item struct {
	Name    string
	Time    time.Time // when the snapshot was taken
	Keep    string    // non-empty: must be kept whatever the policy says, and why ("pinned", "last common snapshot with usb", "not made by btrkeep")
	Foreign bool      // not ours: kept, and does not take a place in any bucket
}

// Decision is what Plan says of one item, and why.
type Decision struct {
	Item
	Remove  bool
	Reasons []string // for a kept one every rule that keeps it ("hourly 2026-11-23 11:00", "newest", "within 30d", …); for a removed one what it gave way to
}

// futureSlack is how far ahead of now an item may be dated before it counts as one of a wrong clock: time
// zones mixed up and a clock corrected by hours are everyday things.
const futureSlack = 24 * time.Hour

// Plan decides for each item. items are in true order, oldest first (by transaction, not by clock); the decisions come back in the same order.
//
//   - A zero policy keeps everything.
//   - Buckets are counted newest first over the items that exist; the newest item of a bucket is the one kept. Buckets are cut in loc.
//     What is newest in a bucket goes by Time, and by order among items of the same Time.
//   - Last counts by order.
//   - Within counts from the newest item that is not in the future, not from now.
//   - The newest item (last in order that is not in the future; if all are, the last) is always kept: Plan never removes everything.
//   - An item dated more than a day after now is kept and not counted.
//   - A foreign item is kept, and changes nothing for the others: it is neither counted nor the newest.
//   - An item with Keep takes its places like any other. So a pin changes the decision for the pinned item
//     alone: it does not make the policy keep one more of the others, and taking it away removes none of them.
//
// Plan believes now and the newest item's Time. A caller that sees that the clock has jumped ahead must not
// carry out the plan: with Within, one item from the year 2040 makes all others old.
func Plan(items []Item, keep config.Keep, now time.Time, loc *time.Location) []Decision {
	counted, newest := count(items, now)
	rules := apply(items, counted, newest, keep, loc)
	decisions := make([]Decision, len(items))
	for i, item := range items {
		d := Decision{Item: item}
		because := func(reason string) { d.Reasons = append(d.Reasons, reason) }
		if item.Keep != "" {
			because(item.Keep)
		}
		if i == newest {
			because("newest")
		}
		switch {
		case item.Foreign:
			if item.Keep == "" {
				because("not made by btrkeep")
			}
		case inFuture(item, now):
			because("in the future: kept, not counted")
		case len(rules) == 0:
			because("no rules: everything is kept")
		default:
			for _, r := range rules {
				if reason, ok := r.keeps[i]; ok {
					because(reason)
				}
			}
		}
		if len(d.Reasons) == 0 {
			d.Remove = true
			d.Reasons = gaveWay(items, i, rules, loc)
		}
		decisions[i] = d
	}
	return decisions
}

func inFuture(item Item, now time.Time) bool { return item.Time.After(now.Add(futureSlack)) }

// count gives the indices of the items that take part, in order, and that of the newest one; -1 if none is ours.
func count(items []Item, now time.Time) (counted []int, newest int) {
	newest = -1
	for i, item := range items {
		switch {
		case item.Foreign:
		case !inFuture(item, now):
			counted = append(counted, i)
			newest = i
		case len(counted) == 0:
			newest = i
		}
	}
	return counted, newest
}
