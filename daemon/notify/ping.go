package notify

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/btrkeep/btrkeep/jobs"
)

// What a check is told, as the last part of its url: https://healthchecks.io/docs/http_api/.
const (
	pingStart   = "start"
	pingSuccess = "" // the url itself
	pingFail    = "fail"
	pingLog     = "log" // which changes nothing
)

// maxBody is how much of the log a check gets. healthchecks.io keeps 100 kB; others less.
const maxBody = 10_000

// ran is a run that has ended.
type ran struct {
	id     string
	status int // exit status that `btrkeep run` would have
}

// outcome is what the check is told. A run in which a disk was absent is a success, unless that has been away for too long: then it fails though nothing did. A failed run has
// its exit status.
func (r ran) outcome(problems []jobs.Problem) string {
	switch {
	case r.status == 1:
		return strconv.Itoa(r.status)
	case len(problems) > 0:
		return pingFail
	default:
		return pingSuccess
	}
}

// newRunID tells the pings of one run from those of others: a UUID of version 4, RFC 9562.
func newRunID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// pingURL is where a check is told something.
func pingURL(check, what, id string) (string, error) {
	u, err := url.Parse(check)
	if err != nil {
		return "", err
	}
	if what != "" {
		u.Path = strings.TrimRight(u.Path, "/") + "/" + what
		u.RawPath = ""
	}
	if id != "" {
		q := u.Query()
		q.Set("rid", id)
		u.RawQuery = q.Encode()
	}
	return u.String(), nil
}

func sendPing(ctx context.Context, e entry) error {
	to, err := pingURL(e.To, e.Ping, e.Run)
	if err != nil {
		return err
	}
	body := e.Log
	if over := len(body) - maxBody; over > 0 {
		body = strings.ToValidUTF8(body[over:], "")
	}
	return post(ctx, to, "text/plain; charset=utf-8", bytes.NewReader([]byte(body)), http.MethodPost)
}
