package remote

import (
	"fmt"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/remote/api"
)

// Examine tells what this key may not do there.
func (d *Destination) Examine(job config.Job) []jobs.Finding {
	found := examine(d.opened.Greeting, d.line.dialer.Version)
	switch can := d.opened.Can; {
	case !can.Add:
		found = append(found, jobs.Finding{Level: jobs.LevelError, Text: "this key may only read there", Hint: "bind it to `btrkeep serve` without --read-only: `btrkeep check --authorized-key` prints the line"})
	case !can.Delete:
		found = append(found, jobs.Finding{
			Level: jobs.LevelNote, Text: "this key may delete nothing there, so that machine has to prune by itself",
			Hint: fmt.Sprintf("with a job in its configuration: received = %q", d.place.Path),
		})
	}
	return found
}

// Examine tells what differs there. What the key may not do has shown already when the source was looked at.
func (o *Origin) Examine(config.Job) []jobs.Finding {
	return examine(o.looked.Greeting, o.line.dialer.Version)
}

func examine(far api.Greeting, here string) []jobs.Finding {
	if far.Version == here {
		return nil
	}
	return []jobs.Finding{{Level: jobs.LevelNote, Text: fmt.Sprintf("btrkeep is %s there, and %s here", far.Version, here), Hint: "they understand each other; what only the newer one has is not there"}}
}
