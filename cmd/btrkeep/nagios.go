package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// Exit statuses of a plugin, by the Monitoring Plugins Development Guidelines.
const (
	nagiosOK       = 0
	nagiosWarning  = 1
	nagiosCritical = 2
	nagiosUnknown  = 3
)

// nagios is status as a plugin of Nagios and its kin: one line on standard output, whatever happens, and one of their exit statuses.
func (a *app) nagios(ctx context.Context, names []string) error {
	cfg, list, err := a.selected(names)
	if err != nil {
		text, _, _ := strings.Cut(err.Error(), "\n")
		fmt.Fprintln(a.stdout, "BTRKEEP UNKNOWN - "+pluginText(text))
		return &exitError{status: nagiosUnknown}
	}
	now := time.Now()
	all := a.lookAll(ctx, cfg, list, now)
	status, line := pluginLine(all, askDaemon(ctx, cfg, all, now), list)
	fmt.Fprintln(a.stdout, line)
	if status != nagiosOK {
		return &exitError{status: status}
	}
	return nil
}

// maxPluginTroubles is how many troubles the line names: it is read on a pager.
const maxPluginTroubles = 4

// pluginLine is the line and the exit status.
func pluginLine(all []jobs.Status, d daemonState, list []config.Job) (status int, line string) {
	var critical, warnings []string
	destinations, absent := 0, 0
	for _, s := range all {
		c, w := troubles(s)
		critical, warnings = append(critical, c...), append(warnings, w...)
		for _, at := range s.Destinations {
			if destinations++; at.State == jobs.StateAbsent {
				absent++
			}
		}
	}
	if d.refused != "" {
		warnings = append(warnings, "the daemon did not take the configuration as it is now")
	}
	if !d.running && slices.ContainsFunc(list, func(j config.Job) bool { return !j.Schedule.IsZero() }) {
		warnings = append(warnings, "the daemon is not running")
	}
	word := "OK"
	switch {
	case len(critical) > 0:
		status, word = nagiosCritical, "CRITICAL"
	case len(warnings) > 0:
		status, word = nagiosWarning, "WARNING"
	}
	found := append(critical, warnings...)
	if more := len(found) - maxPluginTroubles; more > 0 {
		found = append(found[:maxPluginTroubles], fmt.Sprintf("%d more", more))
	}
	if len(found) == 0 {
		found = []string{fmt.Sprintf("jobs: %d, destinations: %d, absent: %d", len(all), destinations, absent)}
	}
	return status, "BTRKEEP " + word + " - " + pluginText(strings.Join(found, "; ")) + " | " + strings.Join(perfdata(all), " ")
}

// troubles are what is wrong with a job, and what is not as it should be.
func troubles(s jobs.Status) (critical, warnings []string) {
	for _, d := range s.Destinations {
		switch {
		case d.State == "stale" && d.NewestTime.IsZero():
			critical = append(critical, fmt.Sprintf("%s/%s is stale: no backup", s.Job, d.Name))
		case d.State == "stale":
			critical = append(critical, fmt.Sprintf("%s/%s is stale: newest backup %s old", s.Job, d.Name, shortAge(time.Duration(d.AgeSeconds)*time.Second)))
		case d.State == "failing":
			critical = append(critical, strings.TrimSuffix(fmt.Sprintf("%s/%s fails: %s", s.Job, d.Name, d.LastError), ": "))
		}
	}
	if s.Error != "" {
		critical = append(critical, s.Job+": "+s.Error)
	} else if s.Failing() && len(critical) == 0 {
		critical = append(critical, s.Job+" fails: "+s.LastError)
	}
	if s.Late {
		warnings = append(warnings, s.Job+" is late")
	}
	return critical, warnings
}

// perfdata is how old the newest backups are, with max_age as what is critical, and what is still to be brought over.
func perfdata(all []jobs.Status) []string {
	data := []string{fmt.Sprintf("jobs=%d;;;0", len(all))}
	for _, s := range all {
		for _, d := range s.Destinations {
			label := s.Job + "/" + d.Name
			limit := ""
			if d.MaxAgeSeconds > 0 {
				limit = fmt.Sprint(d.MaxAgeSeconds)
			}
			if !d.NewestTime.IsZero() {
				data = append(data, fmt.Sprintf("'%s age'=%ds;;%s;0", label, max(d.AgeSeconds, 0), limit))
			}
			data = append(data, fmt.Sprintf("'%s backlog'=%d;;;0", label, d.Backlog))
		}
	}
	return data
}

// pluginText is text without what has a meaning in the line.
func pluginText(text string) string { return strings.ReplaceAll(clean(oneLine(text)), "|", "/") }
