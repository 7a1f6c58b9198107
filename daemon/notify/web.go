package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// client follows no redirects: a POST would become a GET, and what is told would go to somebody else.
var client = &http.Client{
	Timeout:       sendTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// statusError is the refusal of a web service.
type statusError struct {
	url    string // redacted
	status int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s answered %d %s", e.url, e.status, http.StatusText(e.status))
}

// permanent reports whether it would refuse the same the next time.
func (e *statusError) permanent() bool {
	switch e.status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return e.status < 500
}

func sendWebhook(ctx context.Context, e entry) error {
	body, err := json.Marshal(e.Message)
	if err != nil {
		return err
	}
	return post(ctx, e.To, "application/json", bytes.NewReader(body), http.MethodPost)
}

// post sends something to a web service. No error shows more of the url than its host.
func post(ctx context.Context, to, contentType string, body io.Reader, method string) error {
	r, err := http.NewRequestWithContext(ctx, method, to, body)
	if err != nil {
		return fmt.Errorf("%s is no url", config.Redacted(to))
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("User-Agent", "btrkeep")
	resp, err := client.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) { // its text has the url
			err = u.Err
		}
		return fmt.Errorf("%s: %w", config.Redacted(to), err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		err := error(&statusError{config.Redacted(to), resp.StatusCode})
		if resp.StatusCode < 400 {
			err = &jobs.HintError{Err: err, Hint: "write the url that it redirects to"}
		}
		return err
	}
	return nil
}

// sendTimeout is how long one attempt may take.
const sendTimeout = 30 * time.Second
