package notify

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// Ways to reach somebody.
const (
	byPing    = "ping"
	byWebhook = "webhook"
	byMail    = "mail"
	byCommand = "command"
)

// entry is one thing to be told to one target.
type entry struct {
	Way     string    `json:"way"`
	To      string    `json:"to,omitempty"`   // url or address
	Argv    []string  `json:"argv,omitempty"` // of a command
	Made    time.Time `json:"made"`
	Message Message   `json:"message"`
	Tries   int       `json:"tries,omitempty"`
	Next    time.Time `json:"next"` // not before

	// Of pings, which are not kept over a restart.
	Ping, Run, Log string `json:"-"`
}

// target is whom it goes to: what is for one goes in its order.
func (e entry) target() string { return e.Way + " " + e.To + strings.Join(e.Argv, "\x00") }

// send makes one attempt.
func send(ctx context.Context, e entry) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	switch e.Way {
	case byPing:
		return sendPing(ctx, e)
	case byWebhook:
		return sendWebhook(ctx, e)
	case byMail:
		return sendMail(ctx, e)
	default:
		return sendCommand(ctx, e)
	}
}

const (
	// firstRetry is after how long a second attempt is made. Each time it is twice as long, up to lastRetry.
	firstRetry = time.Minute
	lastRetry  = time.Hour

	// keptFor is for how long what cannot be told is kept. Then nobody waits for it, and what is still wrong has been told anew.
	keptFor = 7 * 24 * time.Hour

	// maxTries is how often something is tried with what refuses it for good.
	maxTries = 5

	// maxOutbox is how much is kept.
	maxOutbox = 1000
)

// outbox is what has not been told yet, oldest first.
type outbox struct {
	Entries []*entry `json:"entries"`

	busy map[string]bool // targets that something is being sent to
}

func (o *outbox) add(e entry) {
	o.Entries = append(o.Entries, &e)
	if over := len(o.Entries) - maxOutbox; over > 0 {
		o.Entries = slices.Delete(o.Entries, 0, over)
	}
}

// message puts a message into the box for each way.
func (o *outbox) message(now time.Time, to config.Notify, m Message) {
	fresh := entry{Made: now, Next: now, Message: m}
	for _, t := range []entry{{Way: byWebhook, To: forJob(to.Webhook, m.Job)}, {Way: byMail, To: to.Mail}, {Way: byCommand, Argv: to.Command}} {
		if t.To == "" && len(t.Argv) == 0 {
			continue
		}
		e := fresh
		e.Way, e.To, e.Argv = t.Way, t.To, t.Argv
		if m.Event == EventReminder { // one that could not be told is no news
			o.drop(func(old *entry) bool {
				return old.Message.Event == EventReminder && old.Message.Job == m.Job && old.target() == e.target()
			})
		}
		o.add(e)
	}
}

// ping puts a ping into the box. Those of earlier runs of the job say nothing any more.
func (o *outbox) ping(now time.Time, job config.Job, what, run, log string) {
	to := forJob(job.Notify.PingURL, job.Name)
	o.drop(func(old *entry) bool {
		return old.Way == byPing && old.To == to && old.Message.Job == job.Name && old.Run != run
	})
	o.add(entry{Way: byPing, To: to, Made: now, Next: now, Message: Message{Job: job.Name}, Ping: what, Run: run, Log: log})
}

// drop removes what nobody has begun to send.
func (o *outbox) drop(useless func(*entry) bool) {
	first := map[string]bool{}
	o.Entries = slices.DeleteFunc(o.Entries, func(e *entry) bool {
		head := !first[e.target()]
		first[e.target()] = true
		sending := head && o.busy[e.target()]
		return useless(e) && !sending
	})
}

func forJob(url, job string) string {
	return strings.ReplaceAll(url, config.JobMark, cmp.Or(job, "btrkeep"))
}

// pump starts to send what is due: to each target one thing at a time, in its order.
func (n *Notifier) pump() {
	seen := map[string]bool{}
	for _, e := range slices.Clone(n.outbox.Entries) {
		target := e.target()
		if seen[target] || n.outbox.busy[target] {
			continue
		}
		seen[target] = true
		if e.Next.Sub(n.now) > 0 && e.Next.Sub(n.now) <= lastRetry { // further off, the clock was set back
			continue
		}
		n.outbox.busy[target] = true
		attempt := *e
		n.sending.Go(func() {
			err := n.send(n.ctx, attempt)
			if n.sent(e, err) {
				n.save()
			}
		})
	}
}

// sent takes in what became of an attempt, and reports whether anything has to be written down.
func (n *Notifier) sent(e *entry, err error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.outbox.busy, e.target())
	switch {
	case err == nil:
		n.mended(e)
	case n.ctx.Err() != nil: // the daemon ends: the next one tries again
		return false
	case !n.failed(e, err):
		return true
	}
	n.outbox.Entries = slices.DeleteFunc(n.outbox.Entries, func(other *entry) bool { return other == e })
	n.pump()
	return true
}

// failed puts the next attempt off; true means that there will be none.
func (n *Notifier) failed(e *entry, err error) (giveUp bool) {
	e.Tries++
	wait := min(firstRetry<<min(e.Tries-1, 10), lastRetry)
	e.Next = n.now.Add(wait)
	if refused, ok := asStatus(err); ok && refused.permanent() && e.Tries >= maxTries || n.now.Sub(e.Made) > keptFor {
		n.log.Error("gave up telling "+e.about()+": "+err.Error(), jobs.KeyEvent, jobs.EventWarning)
		return true
	}
	if _, known := n.broken[e.target()]; !known { // once is enough in the log
		n.broken[e.target()] = n.now
		attrs := []any{jobs.KeyEvent, jobs.EventWarning}
		if hint := jobs.Hint(err); hint != "" {
			attrs = append(attrs, jobs.KeyHint, hint)
		}
		n.log.Warn("could not tell "+e.about()+", it is tried again: "+err.Error(), attrs...)
	}
	return false
}

func (n *Notifier) mended(e *entry) {
	if since, ok := n.broken[e.target()]; ok {
		delete(n.broken, e.target())
		n.log.Info("could tell "+e.about()+" again", jobs.KeySeconds, n.now.Sub(since).Seconds())
	}
}

// about is whom the entry is for, in the log.
func (e *entry) about() string {
	switch e.Way {
	case byPing, byWebhook:
		return e.Way + " " + config.Redacted(e.To)
	case byMail:
		return e.To + " by mail"
	default:
		return e.Way + " " + e.Argv[0]
	}
}

func asStatus(err error) (*statusError, bool) {
	return errors.AsType[*statusError](err)
}
