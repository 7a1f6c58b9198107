package config

import (
	"maps"
	"slices"
	"strconv"
)

// checkReceived refuses what makes no sense in a job that only prunes what others keep here, and what would let them do harm.
func (l *loader) checkReceived(jobs []*draft) {
	fit := []string{"received", "schedule", "jitter", "catch_up", "window", "only_on_ac", "inhibit_sleep", "keep", "io_class", "timeout", "hooks", "notify"}
	seen := map[string]node{}
	others := ownPlaces(jobs)
	for _, d := range jobs {
		n, ok := d.set["received"]
		if !ok {
			continue
		}
		if len(n.path) == 2 { // defaults.received
			l.fail(n.keyPlace(), "write it into one job", `"received" cannot be given to all jobs`)
			continue
		}
		own, _ := d.at.value.(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(own)) {
			if other, ok := d.set[key]; ok && !slices.Contains(fit, key) {
				l.fail(other.keyPlace(), "such a job only prunes what other machines keep here; remove this line, or make it another job", "%q does not go together with \"received\"", key)
			}
		}
		if d.Received == "" {
			continue // refused already
		}
		if first, taken := seen[d.Received]; taken {
			l.fail(n.valuePlace(), "one job is enough"+otherPlace(n, first), "%q is pruned by another job", d.Received)
		}
		seen[d.Received] = n
		if what, taken := others[d.Received]; taken {
			l.fail(n.valuePlace(), "give what other machines keep here a directory of its own", "%q %s, which prunes it already", d.Received, what)
		}
		switch _, ok := d.set["keep"]; {
		case !ok:
			l.fail(n.keyPlace(), "add what is to be kept, such as keep = { daily = 30, monthly = 12 }", "job %q has no keep: it would do nothing", d.Name)
		case d.Keep == Keep{Last: d.Keep.Last}:
			l.warn(n.keyPlace(), "job %q keeps only the last %d: who has stolen a key could push as many backups of nothing, until the good ones are gone; keep some by the day or month", d.Name, d.Keep.Last)
		}
	}
}

// ownPlaces are the directories of this machine that are pruned by the jobs that have a source.
func ownPlaces(jobs []*draft) map[string]string {
	places := map[string]string{}
	for _, d := range jobs {
		if d.receives() || d.Name == "" {
			continue
		}
		j := d.finish()
		if !j.Remote() {
			places[j.SnapshotDir] = "holds the snapshots of job " + strconv.Quote(j.Name)
		}
		for _, t := range j.Destinations {
			places[t.URL] = "is a destination of job " + strconv.Quote(j.Name)
		}
	}
	return places
}
