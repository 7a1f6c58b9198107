package retention

import (
	"fmt"
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/config"
)

// rule is one rule of a policy, applied.
type rule struct {
	name    string                 // "last 3", "within 30d", "hourly 24"
	unit    string                 // "hour"; "" for last and within, which have no buckets
	bucket  func(time.Time) string // the bucket of a time in the right zone
	keepers map[string]int         // by bucket the item that is kept for it
	oldest  string                 // the oldest bucket that has a keeper
	keeps   map[int]string         // the items that the rule keeps, and why
}

// apply applies the policy to the counted items. A count that is not positive is no rule.
func apply(items []Item, counted []int, newest int, keep config.Keep, loc *time.Location) []rule {
	var rules []rule
	if keep.Within > 0 {
		r := rule{name: fmt.Sprintf("within %v", keep.Within), keeps: map[int]string{}}
		for _, i := range counted {
			if !items[i].Time.Before(items[newest].Time.Add(-time.Duration(keep.Within))) {
				r.keeps[i] = r.name
			}
		}
		rules = append(rules, r)
	}
	if keep.Last > 0 {
		r := rule{name: fmt.Sprintf("last %d", keep.Last), keeps: map[int]string{}}
		for _, i := range counted[max(0, len(counted)-keep.Last):] {
			r.keeps[i] = r.name
		}
		rules = append(rules, r)
	}
	newestFirst := slices.Clone(counted)
	slices.SortFunc(newestFirst, func(a, b int) int {
		if c := items[b].Time.Compare(items[a].Time); c != 0 {
			return c
		}
		return b - a
	})
	for _, by := range []struct {
		n            int
		adverb, unit string
		bucket       func(time.Time) string
	}{
		{keep.Hourly, "hourly", "hour", hour},
		{keep.Daily, "daily", "day", day},
		{keep.Weekly, "weekly", "week", week},
		{keep.Monthly, "monthly", "month", month},
		{keep.Yearly, "yearly", "year", year},
	} {
		if by.n <= 0 {
			continue
		}
		r := rule{name: fmt.Sprintf("%s %d", by.adverb, by.n), unit: by.unit, bucket: by.bucket, keepers: map[string]int{}, keeps: map[int]string{}}
		for _, i := range newestFirst {
			b := r.bucket(items[i].Time.In(loc))
			if _, taken := r.keepers[b]; taken {
				continue
			}
			r.keepers[b], r.oldest = i, b
			r.keeps[i] = by.adverb + " " + b
			if len(r.keepers) == by.n {
				break
			}
		}
		rules = append(rules, r)
	}
	return rules
}

// hour names the hour of t. The two hours of one name on the day that daylight saving ends are two
// buckets: near a change the name carries the offset.
func hour(t time.Time) string {
	const layout = "2006-01-02 15:00"
	// From the start of the hour, so that it is the same for all of its times.
	start := t.Add(-time.Duration(t.Minute())*time.Minute - time.Duration(t.Second())*time.Second)
	_, before := start.Add(-3 * time.Hour).Zone()
	_, after := start.Add(3 * time.Hour).Zone()
	if before != after {
		return t.Format(layout + " -0700")
	}
	return t.Format(layout)
}

func day(t time.Time) string { return t.Format(time.DateOnly) }

func week(t time.Time) string {
	y, w := t.ISOWeek()
	return fmt.Sprintf("%d-W%02d", y, w)
}

func month(t time.Time) string { return t.Format("2006-01") }

func year(t time.Time) string { return t.Format("2006") }
