package notify

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// Check looks, without telling anybody, for what would keep the daemon from telling what is configured: a program that is not there.
func Check(cfg *config.Config) []jobs.Finding {
	var found []jobs.Finding
	for _, job := range cfg.Jobs {
		if job.Notify.Mail != "" && !canMail() {
			found = append(found, jobs.Finding{Job: job.Name, Level: jobs.LevelError, Text: "mail cannot be sent: there is no sendmail", Hint: sendmailHint})
		}
		if argv := job.Notify.Command; len(argv) > 0 {
			if st, err := os.Stat(argv[0]); err != nil || st.IsDir() || st.Mode()&fs.FileMode(0o111) == 0 {
				found = append(found, jobs.Finding{
					Job: job.Name, Level: jobs.LevelError, Text: fmt.Sprintf("%s, which is to be told how the job fares, is not there or no program", argv[0]),
					Hint: "notify.command is a program with arguments, not a shell line",
				})
			}
		}
	}
	return found
}

const sendmailHint = "mail goes through the machine's own sendmail: install one, such as the packages msmtp-mta, nullmailer or postfix"

func canMail() bool {
	for _, program := range append(sendmails, "/usr/sbin/sendmail") {
		if _, err := exec.LookPath(program); err == nil {
			return true
		}
	}
	return false
}

// EventTest is that of a message by which somebody tries whether messages arrive.
const EventTest = "test"

// Try tells everybody whom the jobs name that this is a test, each once, and gives a finding for each: an error, or a note that it was sent. A check hears a line of its log, which changes
// nothing about how it stands.
func Try(ctx context.Context, list []config.Job, now time.Time) []jobs.Finding {
	n := New(nil, nil)
	var found []jobs.Finding
	seen := map[string]bool{}
	for _, job := range list {
		box := outbox{busy: map[string]bool{}}
		box.message(now, job.Notify, Message{Event: EventTest, Job: job.Name, Host: n.host, Time: now, Problems: []Problem{}, Resolved: []jobs.Problem{}})
		if job.Notify.PingURL != "" {
			box.ping(now, job, pingLog, "", "This is a test.\n")
		}
		for _, e := range box.Entries {
			if seen[e.target()] {
				continue
			}
			seen[e.target()] = true
			f := jobs.Finding{Job: job.Name, Level: jobs.LevelNote, Text: "told " + e.about()}
			if err := send(ctx, *e); err != nil {
				f.Level, f.Text, f.Hint = jobs.LevelError, "could not tell "+e.about()+": "+strings.TrimSpace(err.Error()), jobs.Hint(err)
			}
			found = append(found, f)
		}
	}
	return found
}
