package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// role makes the test binary the far end of a line.
const role = "BTRKEEP_WIRE_TEST_FAR"

func TestMain(m *testing.M) {
	if os.Getenv(role) == "" {
		os.Exit(m.Run())
	}
	if noise := os.Getenv(role + "_NOISE"); noise != "" {
		fmt.Print(noise)
	}
	if err := Serve(context.Background(), os.Stdin, os.Stdout, http.HandlerFunc(far), ServerOptions{Version: "v2"}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// far answers: /echo with the body, /die not at all, /hang with the first half of something.
func far(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/echo":
		_, _ = io.Copy(w, r.Body)
	case "/abort":
		panic(http.ErrAbortHandler)
	case "/die":
		os.Exit(3)
	case "/hang":
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// program writes a script that stands for ssh.
func program(t *testing.T, script string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ssh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{path}
}

func dialer(t *testing.T, noise string) Dialer {
	t.Helper()
	return Dialer{SSH: program(t, fmt.Sprintf("%s=yes %s_NOISE='%s' exec %s", role, role, noise, os.Args[0])), Command: "btrkeep serve", Stall: 10 * time.Second, Version: "v1"}
}

func dial(t *testing.T, d Dialer) *Client {
	t.Helper()
	c, err := d.Dial(t.Context(), Target{User: "ann", Host: "nas", Port: "2222"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func post(t *testing.T, c *Client, ctx context.Context, path string, body io.Reader) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://btrkeep"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return c.Do(r)
}

// What a login script says before is skipped, and everything passes unchanged, several requests at once.
func TestLine(t *testing.T) {
	for _, noise := range []string{"", "Welcome to nas!\nLast login: yesterday\n", "\x00btrkeep wire", strings.Repeat("x", maxNoise/2)} {
		c := dial(t, dialer(t, noise))
		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
		answers := make(chan error)
		for range 4 {
			go func() {
				resp, err := post(t, c, t.Context(), "/echo", bytes.NewReader(data))
				if err != nil {
					answers <- err
					return
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if !bytes.Equal(got, data) {
					err = errors.Join(err, fmt.Errorf("%d bytes came back", len(got)))
				}
				answers <- err
			}()
		}
		for range 4 {
			if err := <-answers; err != nil {
				t.Errorf("%.20q: %v", noise, err)
			}
		}
	}
}

// The ways in which no line comes about. The messages are those of OpenSSH 9.2.
func TestDialErrors(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		kind   Kind
		says   string
	}{
		"refused":      {"echo 'ssh: connect to host nas port 22: Connection refused' >&2; exit 255", Down, "Connection refused"},
		"no route":     {"echo 'ssh: connect to host nas port 22: No route to host' >&2; exit 255", Down, "No route"},
		"timeout":      {"echo 'ssh: connect to host nas port 22: Connection timed out' >&2; exit 255", Down, "timed out"},
		"unknown name": {"echo 'ssh: Could not resolve hostname nas: Name or service not known' >&2; exit 255", Down, "resolve"},
		"too many":     {"echo 'kex_exchange_identification: Connection closed by remote host' >&2; exit 255", Down, "closed"},
		"key refused":  {"echo 'root@nas: Permission denied (publickey,password).' >&2; exit 255", KeyRefused, "Permission denied"},
		"host key":     {"echo '@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @' >&2; echo 'Host key verification failed.' >&2; exit 255", HostKeyChanged, "has changed"},
		"unknown host": {"echo 'No ED25519 host key is known for nas and you have requested strict checking.' >&2; echo 'Host key verification failed.' >&2; exit 255", HostKeyUnknown, "not known"},
		"no btrkeep":   {"echo 'bash: line 1: btrkeep: command not found' >&2; exit 127", NoBtrkeep, "no btrkeep"},
		"busybox":      {"echo 'sh: btrkeep: not found' >&2; exit 127", NoBtrkeep, "no btrkeep"},
		"other bound":  {"echo 'This account is for rsync only.'", NoBtrkeep, "rsync only"},
		"silent":       {"exit 0", NoBtrkeep, "no btrkeep"},
		"old":          {`echo 'btrkeep: error: unknown command "serve" for "btrkeep"' >&2; exit 2`, Other, "unknown command"},
		"newer":        {`printf '\000btrkeep wire\0007-9 v9\n'; cat >/dev/null`, OtherVersion, "speaks protocol 7 to 9"},
		"older":        {`printf '\000btrkeep wire\0000-0 v0\n'; cat >/dev/null`, OtherVersion, "speaks protocol 0 to 0"},
		"noise":        {"yes", NoBtrkeep, "no btrkeep"},
		"hangs":        {"echo Password:; exec sleep 100", NoBtrkeep, "Password:"},
		"hangs mute":   {"exec sleep 100", Down, "no answer"},
		"killed":       {"kill -9 $$", Down, "was killed"},
		"escape":       {`printf 'root@nas: \033[2JPermission denied\n' >&2; exit 255`, KeyRefused, "[2JPermission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := Dialer{SSH: program(t, test.script), Stall: 2 * time.Second, Version: "v1"}
			_, err := d.Dial(t.Context(), Target{Host: "nas"})
			var e *DialError
			if !errors.As(err, &e) || e.Kind != test.kind || !strings.Contains(e.Error(), test.says) || !strings.HasPrefix(e.Error(), "nas: ") || e.Kind != Other && e.Hint() == "" {
				t.Errorf("%v", err)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("%q goes to a terminal", err)
			}
		})
	}
	if _, err := (Dialer{SSH: []string{"/no/such/ssh"}, Stall: time.Second}).Dial(t.Context(), Target{Host: "nas"}); err == nil {
		t.Error("no error without ssh")
	}
}

// ssh gets what keeps it from asking, and cannot take a host for an option.
func TestArguments(t *testing.T) {
	d := dialer(t, "")
	log := filepath.Join(t.TempDir(), "log")
	d.SSH = program(t, fmt.Sprintf(`printf '%%s\n' "$@" >%s; exit 1`, log))
	_, _ = d.Dial(t.Context(), Target{User: "ann", Host: "-oProxyCommand=touch /tmp/x", Port: "2222"})
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(b); !strings.Contains(text, "-oBatchMode=yes\n") || !strings.HasSuffix(text, "-l\nann\n-p\n2222\n--\n-oProxyCommand=touch /tmp/x\nbtrkeep serve\n") {
		t.Errorf("%s", text)
	}
}

// A line that is lost in the middle of a request says so, and what ssh said.
func TestDropped(t *testing.T) {
	c := dial(t, dialer(t, ""))
	if _, err := post(t, c, t.Context(), "/die", nil); !errors.Is(err, ErrDropped) {
		t.Errorf("%v", err)
	}
	c = dial(t, dialer(t, ""))
	if _, err := post(t, c, t.Context(), "/abort", nil); err == nil || errors.Is(err, ErrDropped) {
		t.Errorf("a request that the far end gave up: %v", err)
	}
	resp, err := post(t, c, t.Context(), "/hang", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(100 * time.Millisecond)
		c.ssh.kill()
	}()
	if b, err := io.ReadAll(resp.Body); !errors.Is(err, ErrDropped) {
		t.Errorf("%q, %v", b, err)
	}
}

func TestContext(t *testing.T) {
	c := dial(t, dialer(t, ""))
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	resp, err := post(t, c, ctx, "/hang", nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel(gone)
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	if resp, err := post(t, c, t.Context(), "/echo", strings.NewReader("on")); err != nil {
		t.Errorf("the line ended with a request: %v", err)
	} else {
		resp.Body.Close()
	}
	ctx, cancel = context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(gone) })
	start := time.Now()
	if _, err := (Dialer{SSH: program(t, "exec sleep 100"), Stall: time.Minute}).Dial(ctx, Target{Host: "nas"}); !errors.Is(err, gone) || time.Since(start) > 10*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

// A far end that is stopped, as by a line that swallows everything, is given up after the stall time.
func TestFarEndHangs(t *testing.T) {
	d := dialer(t, "")
	d.Stall = 2 * time.Second
	pid := filepath.Join(t.TempDir(), "pid")
	d.SSH = program(t, fmt.Sprintf("echo $$ >%s; %s=yes exec %s", pid, role, os.Args[0]))
	c := dial(t, d)
	b, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscan(string(b), &n); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(n, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for !stopped(t, n) {
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	if _, err := post(t, c, t.Context(), "/echo", strings.NewReader("x")); !errors.Is(err, ErrDropped) || time.Since(start) > idlePing+10*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	start = time.Now()
	_ = c.Close()
	if took := time.Since(start); took > 2*goodbye+killAllowance {
		t.Errorf("to close takes %s", took)
	}
}

// stopped reports whether every thread of a process is: each stops when it sees the signal, and not when that is sent.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		t.Fatal(threads, err)
	}
	return !slices.ContainsFunc(threads, func(path string) bool {
		text, err := os.ReadFile(path)
		return err != nil || !bytes.Contains(text, []byte(") T ")) // proc_pid_stat(5)
	})
}

// killAllowance is for SIGTERM, which a stopped process does not see, to be followed by SIGKILL.
const killAllowance = 10 * time.Second

func TestRate(t *testing.T) {
	d := dialer(t, "")
	d.Rate = func(time.Time) int64 { return 4 << 20 }
	c := dial(t, d)
	start := time.Now()
	resp, err := post(t, c, t.Context(), "/echo", bytes.NewReader(make([]byte, 5<<20)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != 5<<20 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	// 5 MiB there and back, less the 1 MiB that may pass at once.
	if took := time.Since(start); took < 1800*time.Millisecond {
		t.Errorf("10 MiB at 4 MiB/s took %s", took)
	}
}

// A far end that was told another protocol ends, and says why.
func TestWrongChoice(t *testing.T) {
	for _, text := range []string{"2 v9\n", "what?\n", strings.Repeat("x", 1000) + "\n"} {
		in, feed, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		said, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = feed.WriteString(text)
		_ = feed.Close()
		err = Serve(t.Context(), in, out, http.NotFoundHandler(), ServerOptions{Version: "v2"})
		if (err == nil) == (len(text) < 100) {
			t.Errorf("%.20q: %v", text, err)
		}
		if g, _, err := readGreeting(bufio.NewReader(said)); err != nil || g.version != "v2" {
			t.Errorf("%v, %v", g, err)
		}
		_ = said.Close()
	}
}

func FuzzGreeting(f *testing.F) {
	f.Add([]byte(greeting{1, 1, "v1"}.String()))
	f.Add([]byte("Welcome\n" + greeting{1, 3, "v1"}.String() + "PRI"))
	f.Add([]byte(greetingMark + "x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, noise, err := readGreeting(bufio.NewReader(bytes.NewReader(b)))
		if err == nil && !strings.HasPrefix(string(b), noise+greetingMark) || len(noise) > maxNoise+1 || len(g.version) > maxGreeting {
			t.Errorf("%v, %q, %v of %q", g, noise, err, b)
		}
	})
}
