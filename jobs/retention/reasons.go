package retention

import (
	"strings"
	"time"
)

// gaveWay says why no rule keeps the item at index i: for the rules that reach back to it which item they
// keep instead, and which rules do not reach back that far. An item that is named for its hour is not
// named again for its day.
func gaveWay(items []Item, i int, rules []rule, loc *time.Location) []string {
	var reasons, tooOld []string
	named := map[int]bool{}
	for _, r := range rules {
		if r.unit == "" {
			tooOld = append(tooOld, r.name)
			continue
		}
		b := r.bucket(items[i].Time.In(loc))
		keeper, ok := r.keepers[b]
		if !ok {
			tooOld = append(tooOld, r.name+" (oldest kept "+r.oldest+")")
		} else if !named[keeper] {
			named[keeper] = true
			reasons = append(reasons, "the "+r.unit+" "+b+" is kept by "+items[keeper].Name)
		}
	}
	if len(tooOld) == 0 {
		return reasons
	}
	not := "not in "
	if strings.HasPrefix(tooOld[0], "within") {
		not = "not "
	}
	return append(reasons, not+strings.Join(tooOld, ", "))
}
