package migrate

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/config"
)

// without is what btrbk writes as *: more than there ever are.
const without = 1000000

// retention is what btrbk says in PREFIX_preserve_min and PREFIX_preserve, as keep. See btrbk.conf(5), RETENTION POLICY.
func (b *btrbk) retention(s *section, prefix string) Keep {
	least, policy := s.value(prefix+"_preserve_min", "all"), s.value(prefix+"_preserve", "no")
	k := Keep{Said: fmt.Sprintf("btrbk: %s_preserve_min %s", prefix, least)}
	if policy != "no" {
		k.Said += fmt.Sprintf(", %s_preserve %s", prefix, policy)
	}
	if b.failsafe() {
		return Keep{All: true, Said: k.Said}
	}
	bad := func(key, value string) Keep {
		o, _ := s.get(key)
		b.note(o.line, key+" "+value+" makes no sense: everything is kept")
		return Keep{All: true, Said: k.Said}
	}
	switch least {
	case "all":
		return Keep{All: true, Said: k.Said}
	case "latest":
		k.Last = 1
	case "no":
	default:
		var ok bool
		if k.Within, ok = span(least); !ok {
			return bad(prefix+"_preserve_min", least)
		}
	}
	if policy != "no" && !k.policy(policy) {
		return bad(prefix+"_preserve", policy)
	}
	if k.IsZero() { // the newest is never deleted, also by btrbk
		k.Last = 1
	}
	return k
}

// failsafe reports whether options are set that make btrbk keep everything, since it does not follow them any more.
func (b *btrbk) failsafe() bool {
	return slices.ContainsFunc(b.all, func(s setting) bool {
		return regexp.MustCompile(`^(snapshot|target)_preserve_(daily|weekly|monthly)$`).MatchString(s.key)
	})
}

// span is a time as btrbk writes it; months and years are their longest.
func span(text string) (config.Duration, bool) {
	m := regexp.MustCompile(`^([0-9]{1,5})([hdwmy])$`).FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	const day = 24 * time.Hour
	n, _ := strconv.Atoi(m[1]) // five digits
	each := map[string]time.Duration{"h": time.Hour, "d": day, "w": 7 * day, "m": 31 * day, "y": 366 * day}[m[2]]
	d := time.Duration(n) * each
	return config.Duration(d), d/each == time.Duration(n)
}

// policy adds what is like "14d 20w *m"; false if that makes no sense.
func (k *Keep) policy(text string) bool {
	rules := map[string]*int{"h": &k.Hourly, "d": &k.Daily, "w": &k.Weekly, "m": &k.Monthly, "y": &k.Yearly}
	for _, word := range strings.Fields(strings.ToLower(text)) {
		n, unit := word[:len(word)-1], word[len(word)-1:]
		rule := rules[unit]
		if rule == nil {
			return false
		}
		delete(rules, unit) // given twice it is a mistake
		if n == "*" {
			*rule = without
			continue
		}
		count, err := strconv.ParseUint(n, 10, 31)
		if err != nil {
			return false
		}
		*rule = int(min(count, without))
	}
	return true
}

// retentionDiffers is what a comment says of it.
func retentionDiffers() []string {
	return []string{
		"Where retention differs from btrbk's:",
		"- Of each hour, day, week, month and year btrbk keeps the first, btrkeep the newest. What is the newest of a day that is over stays so.",
		"- btrbk counts days back from today, btrkeep those that have a snapshot: after a month without any, nothing is deleted.",
		"- Weeks are from Monday to Sunday, whatever preserve_day_of_week says; days begin at midnight.",
		"- preserve_min is within, counted from the newest; latest is last = 1; * is " + strconv.Itoa(without) + ". What any rule keeps stays, in both.",
		"- A destination's keep is that of the job unless it has one of its own.",
	}
}
