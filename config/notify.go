package config

import (
	"net/url"
	"strings"
	"time"
)

// Notify says whom to tell of a job. The zero value: nobody.
//
// In urls, [JobMark] stands for the name of the job. They may hold secrets and are not for messages: see [Redacted].
type Notify struct {
	PingURL string   // of a check in the manner of healthchecks.io; "": none
	Webhook string   // of what takes JSON by POST; "": none
	Mail    string   // address, or local user, for sendmail(8); "": none
	Command []string // a program and its arguments; nil: none
	Remind  Duration // how often it is told again that something is still wrong; 0: never
}

// JobMark stands for the name of the job in the urls of [Notify].
const JobMark = "{job}"

const defaultRemind = Duration(24 * time.Hour)

// leastRemind is a guard against a mistake in the unit.
const leastRemind = Duration(time.Hour)

// IsZero reports whether nobody is told.
func (n Notify) IsZero() bool {
	return n.PingURL == "" && n.Webhook == "" && n.Mail == "" && len(n.Command) == 0
}

func (l *loader) notify(target *Notify) func(node) {
	return func(n node) {
		*target = Notify{Remind: defaultRemind}
		if isEmptyTable(n) { // for a job: nobody, whatever [defaults] say
			return
		}
		l.table(n, fields{
			"ping_url": l.secretURL(&target.PingURL),
			"webhook":  l.secretURL(&target.Webhook),
			"mail":     l.checked(&target.Mail, cleanAddress),
			"command":  l.argv(&target.Command),
			"remind":   l.remind(&target.Remind),
		})
	}
}

func (l *loader) remind(d *Duration) func(node) {
	return func(n node) {
		before := len(l.errors)
		l.value(d)(n)
		if len(l.errors) == before && *d != 0 && *d < leastRemind {
			l.fail(n.valuePlace(), `write 1h or more, or "0s" for never`, "%q cannot be %s", n.key(), *d)
		}
	}
}

// secretURL reads the url of a web service. Whoever knows it can send what it takes, so no mistake in its line shows it: that may end in a journal.
func (l *loader) secretURL(target *string) func(node) {
	return func(n node) {
		s, ok := l.text(n)
		if !ok {
			return
		}
		l.secrets = append(l.secrets, s)
		if wrong := wrongHTTP(s); wrong != "" {
			l.fail(n.valuePlace(), "write https://host/path", "%q %s", n.key(), wrong)
			return
		}
		*target = s
	}
}

// wrongHTTP says why s is not the url of a web service, or nothing.
func wrongHTTP(s string) string {
	u, err := url.Parse(strings.ReplaceAll(s, JobMark, "job"))
	switch {
	case err != nil:
		return "is no url"
	case u.Scheme != "https" && u.Scheme != "http":
		return "is not the url of a web service"
	case u.Hostname() == "":
		return "names no host"
	case u.Fragment != "":
		return "has a fragment (#…), which is never sent"
	}
	return ""
}

// Redacted is the url of a web service without what may be secret in it, for messages.
func Redacted(s string) string {
	u, err := url.Parse(strings.ReplaceAll(s, JobMark, "job"))
	if err != nil {
		return "…"
	}
	return u.Scheme + "://" + u.Host + "/…"
}

// cleanAddress takes what sendmail(8) takes as a recipient: user or user@host.
func cleanAddress(s string) (string, error) {
	user, _, _ := strings.Cut(s, "@")
	if user == "" || strings.HasPrefix(s, "-") || strings.HasSuffix(s, "@") || strings.Count(s, "@") > 1 ||
		strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`,;<>()"\:`, r) }) {
		return "", refuse(`write one address such as "root" or "me@example.org"`, "%q is not a mail address", s)
	}
	return s, nil
}

// warnNotify finds a check that several jobs would share: each of them would hide that another one is silent.
func (l *loader) warnNotify(defaults *draft, jobs []*draft) {
	n, ok := defaults.set["notify"]
	if !ok || defaults.Notify.PingURL == "" || strings.Contains(defaults.Notify.PingURL, JobMark) {
		return
	}
	sharing := 0
	for _, d := range jobs {
		if d.Notify.PingURL == defaults.Notify.PingURL {
			sharing++
		}
	}
	if sharing > 1 {
		l.warn(n.keyPlace(), "%d jobs share one ping_url: if one of them falls silent nobody notices; give each its own, or write %s in it where the name of the job belongs", sharing, JobMark)
	}
}
