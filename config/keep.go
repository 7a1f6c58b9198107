package config

import "math"

// Keep says what retention keeps. The zero value keeps everything.
type Keep struct {
	Last    int // the newest N
	Hourly  int // the newest of each of the newest N hours that have one
	Daily   int // likewise days, in Config.Timezone
	Weekly  int // ISO weeks
	Monthly int
	Yearly  int
	Within  Duration // everything not older than this, counted from the newest
}

// IsZero reports whether nothing was said, so that everything is kept.
func (k Keep) IsZero() bool { return k == Keep{} }

func (l *loader) keep(k *Keep) func(node) {
	return func(n node) {
		*k = Keep{} // a job's keep takes the place of the one in [defaults], it is not added to it
		before := len(l.errors)
		l.table(n, fields{
			"last":    l.integer(&k.Last, 0, math.MaxInt32),
			"hourly":  l.integer(&k.Hourly, 0, math.MaxInt32),
			"daily":   l.integer(&k.Daily, 0, math.MaxInt32),
			"weekly":  l.integer(&k.Weekly, 0, math.MaxInt32),
			"monthly": l.integer(&k.Monthly, 0, math.MaxInt32),
			"yearly":  l.integer(&k.Yearly, 0, math.MaxInt32),
			"within":  l.value(&k.Within),
		})
		if k.IsZero() && len(l.errors) == before {
			l.fail(n.valuePlace(), "say what to keep, such as keep = { daily = 7 }; leave keep out to keep everything", "this keep keeps nothing")
		}
	}
}
