package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mime"
	"mime/quotedprintable"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

func message() Message {
	return Message{
		Event: EventProblem, Job: "home", Host: "büro", Time: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		Problems: []Problem{{jobs.Problem{Kind: jobs.ProblemFailing, Destination: "usb", Text: "größer als der Platz\nBcc: evil@example.org"}, true}},
		Resolved: []jobs.Problem{}, Log: "12:00 home: failed\n",
	}
}

// service is a web service that notes what it gets.
type service struct {
	*httptest.Server
	answer int
	got    []string
}

func newService(t *testing.T) *service {
	s := &service{answer: http.StatusOK}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.got = append(s.got, r.Method+" "+r.URL.String()+" "+r.Header.Get("Content-Type")+"\n"+string(b))
		if s.answer/100 == 3 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(s.answer)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestWebhook(t *testing.T) {
	s := newService(t)
	e := entry{Way: byWebhook, To: s.URL + "/hook?token=secret", Message: message()}
	if err := send(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(s.got[0], "\n")
	var m Message
	if err := json.Unmarshal([]byte(body), &m); err != nil || !cmp.Equal(m, e.Message) {
		t.Errorf("%v %s", err, body)
	}
	if head != "POST /hook?token=secret application/json" {
		t.Error(head)
	}
	// A redirect is not followed.
	for _, status := range []int{301, 302, 307, 404, 500} {
		s.got, s.answer = nil, status
		err := send(t.Context(), e)
		var refused *statusError
		if !errors.As(err, &refused) || refused.status != status || len(s.got) != 1 || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d: %v, %d requests", status, err, len(s.got))
		}
		if refused.permanent() != (status < 500) {
			t.Errorf("%d: permanent %v", status, refused.permanent())
		}
	}
	s.Close()
	if err := send(t.Context(), e); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "token") {
		t.Errorf("a service that is down: %v", err)
	}
}

// A service that takes the connection and never answers is given up.
func TestSilentService(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer s.Close()
	defer close(hang)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := send(ctx, entry{Way: byWebhook, To: s.URL, Message: message()}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestPingURLs(t *testing.T) {
	s := newService(t)
	log := strings.Repeat("a line that is long enough\n", 1000) + "the end ü"
	for _, test := range []struct{ check, what, want string }{
		{"/uuid", pingStart, "/uuid/start?rid=id"},
		{"/uuid/", pingSuccess, "/uuid/?rid=id"},
		{"/key/a%20b?create=1", pingFail, "/key/a%20b/fail?create=1&rid=id"},
		{"/uuid", "1", "/uuid/1?rid=id"},
	} {
		s.got = nil
		if err := send(t.Context(), entry{Way: byPing, To: s.URL + test.check, Ping: test.what, Run: "id", Log: log}); err != nil {
			t.Fatal(err)
		}
		head, body, _ := strings.Cut(s.got[0], "\n")
		if want := "POST " + test.want + " text/plain; charset=utf-8"; head != want {
			t.Errorf("%s, not %s", head, want)
		}
		if len(body) > maxBody || !strings.HasSuffix(body, "the end ü") {
			t.Errorf("%d bytes", len(body))
		}
	}
	if a, b := newRunID(), newRunID(); a == b || len(a) != 36 || a[14] != '4' {
		t.Errorf("%s %s", a, b)
	}
}

// program makes a program that is called like that.
func program(t *testing.T, name, script string) (dir, path string) {
	dir = t.TempDir()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

func TestMail(t *testing.T) {
	dir, _ := program(t, "sendmail", `echo "$@" >"${0%/*}/args"; cat >"${0%/*}/mail"`)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if err := send(t.Context(), entry{Way: byMail, To: "me@example.org", Message: message()}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(dir + "/args"); string(b) != "-i -t\n" {
		t.Errorf("%s", b)
	}
	f, err := os.Open(dir + "/mail")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := mail.ReadMessage(f)
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || subject != "[btrkeep] home on büro: failing at usb" || m.Header.Get("To") != "me@example.org" || len(m.Header) != 7 {
		t.Errorf("%v %q %v", err, subject, m.Header)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil || !strings.Contains(string(body), "new: failing at usb: größer als der Platz") || !strings.Contains(string(body), "12:00 home: failed") {
		t.Errorf("%v %s", err, body)
	}
	// What it says when it fails is in the error; without it there is a hint.
	program := filepath.Join(dir, "sendmail")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho no such user >&2; exit 67\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), entry{Way: byMail, To: "me", Message: message()}); err == nil || !strings.Contains(err.Error(), "no such user") {
		t.Error(err)
	}
	old := sendmails
	sendmails = []string{"no-sendmail-here", "/nowhere/sendmail"}
	defer func() { sendmails = old }()
	if err := send(t.Context(), entry{Way: byMail, To: "me", Message: message()}); jobs.Hint(err) == "" {
		t.Errorf("%v", err)
	}
}

func TestCommand(t *testing.T) {
	dir, path := program(t, "tell", `printf '%s\n' "$1" "$BTRKEEP_EVENT" "$BTRKEEP_JOB" "$BTRKEEP_TITLE" >"${0%/*}/env"; cat >"${0%/*}/json"`)
	if err := send(t.Context(), entry{Way: byCommand, Argv: []string{path, "an argument"}, Message: message()}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(dir + "/env"); string(b) != "an argument\nproblem\nhome\nhome on büro: failing at usb\n" {
		t.Errorf("%s", b)
	}
	var m Message
	if b, _ := os.ReadFile(dir + "/json"); json.Unmarshal(b, &m) != nil || !cmp.Equal(m, message()) {
		t.Errorf("%s", b)
	}
	// One that reads nothing is not stuck, however much there is to read.
	_, lazy := program(t, "lazy", "exit 0")
	long := message()
	long.Log = strings.Repeat("x", 1<<20)
	if err := send(t.Context(), entry{Way: byCommand, Argv: []string{lazy}, Message: long}); err != nil && !strings.Contains(err.Error(), "too long") {
		t.Error(err)
	}
}

// `check --tell` tells each target once, and says which cannot be told.
func TestTry(t *testing.T) {
	s := newService(t)
	dead := newService(t)
	dead.Close()
	_, path := program(t, "tell", "exit 3")
	list := []config.Job{
		{Name: "a", Notify: config.Notify{Webhook: s.URL + "/hook", PingURL: s.URL + "/{job}"}},
		{Name: "b", Notify: config.Notify{Webhook: s.URL + "/hook", PingURL: dead.URL + "/{job}", Command: []string{path}}},
		{Name: "c"},
	}
	found := Try(t.Context(), list, time.Now())
	var levels []string
	for _, f := range found {
		levels = append(levels, f.Job+" "+f.Level)
	}
	if diff := cmp.Diff([]string{"a note", "a note", "b error", "b error"}, levels); diff != "" {
		t.Error(diff, found)
	}
	if len(s.got) != 2 || !strings.Contains(s.got[0], `"event":"test"`) || !strings.HasPrefix(s.got[1], "POST /a/log ") {
		t.Errorf("%q", s.got)
	}
	old := sendmails
	sendmails = []string{"no-sendmail-here"}
	defer func() { sendmails = old }()
	t.Setenv("PATH", "")
	_, missing := program(t, "x", "")
	list[0].Notify = config.Notify{Command: []string{missing}}
	list[1].Notify = config.Notify{Command: []string{missing + "-not"}}
	if found := Check(&config.Config{Jobs: list}); len(found) != 1 || found[0].Job != "b" {
		t.Errorf("%+v", found)
	}
}
