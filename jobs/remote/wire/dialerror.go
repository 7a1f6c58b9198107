package wire

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/internal/child"
)

// Kind is why no line could be made.
type Kind int

// The kinds of a DialError.
const (
	Other          Kind = iota
	Down                // nobody there, or no network: it may be there later
	NoSSH               // the ssh program is not installed here
	KeyRefused          // the far end did not let us in: it wants another key, or a password
	HostKeyChanged      // it is not the host that it was
	HostKeyUnknown      // it was never met
	NoBtrkeep           // somebody else answered, or there is no btrkeep
	OtherVersion        // the two have no protocol in common
)

// DialError tells why no line could be made.
type DialError struct {
	Host  string
	Kind  Kind
	text  string
	older bool // the far end is the older one
}

func (e *DialError) Error() string { return e.Host + ": " + e.text }

// Hint is what to do about it.
func (e *DialError) Hint() string {
	switch e.Kind {
	case Down:
		return "is the machine on, and is this one on the network? The next run tries again"
	case NoSSH:
		return "install it: apt-get install openssh-client, or what your distribution calls it"
	case KeyRefused:
		return "btrkeep connects as the user that it runs as, and enters no passwords: make a key for it with ssh-keygen, and put it into authorized_keys there; `btrkeep check --authorized-key` prints the line"
	case HostKeyChanged:
		return "if the machine was not installed anew, somebody may be in between; if it was: ssh-keygen -R " + e.Host + ", then ssh to it once by hand"
	case HostKeyUnknown:
		return "connect to it once by hand, as the user that btrkeep runs as, and compare the fingerprint: ssh " + e.Host
	case NoBtrkeep:
		return "install btrkeep there, where the login finds it; if the key is bound to a command, that must be btrkeep serve, as `btrkeep check --authorized-key` prints it"
	case OtherVersion:
		if e.older {
			return "update btrkeep there"
		}
		return "update btrkeep here"
	}
	return ""
}

// failed tells why there was no greeting.
func (d Dialer) failed(t Target, s *ssh, patience time.Duration, noise string, err error) *DialError {
	e := &DialError{Host: t.Host}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		e.Kind, e.text = Down, fmt.Sprintf("no answer within %s", patience)
		if noise = lastLine(noise); noise != "" {
			e.Kind, e.text = NoBtrkeep, fmt.Sprintf("what answers is no btrkeep: it says %q and then nothing for %s", noise, patience)
		}
		return e
	}
	select {
	case <-s.ended:
	case <-time.After(lastWords): // it has closed its output, and waits for us
		s.end(0)
	}
	var told *child.Error
	var exit *exec.ExitError
	switch {
	case errors.Is(s.err, exec.ErrNotFound):
		e.Kind, e.text = NoSSH, s.err.Error()
	case errors.As(s.err, &told) && errors.As(s.err, &exit):
		e.Kind, e.text = classify(exit.ExitCode(), told.Stderr)
	case s.err != nil && !errors.Is(s.err, context.Canceled):
		e.text = s.err.Error()
	default:
		e.Kind, e.text = NoBtrkeep, "what answers is no btrkeep"
		if noise = lastLine(noise); noise != "" {
			e.text += ": it says " + strconv.Quote(noise)
		}
	}
	return e
}

// sshFailed is the exit status of ssh if it is ssh that has failed; see ssh(1).
const sshFailed = 255

// classify reads ssh's messages, or those of the far end's shell. ssh has one status for everything, and does not translate what it says.
func classify(status int, stderr string) (Kind, string) {
	says := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(stderr, p) {
				return true
			}
		}
		return false
	}
	last := lastLine(stderr)
	switch {
	case status < 0: // see exec.ExitError.ExitCode
		return Down, "ssh was killed"
	case status == 127, says(": command not found", "btrkeep: not found"):
		return NoBtrkeep, "there is no btrkeep: " + last
	case status == 126:
		return NoBtrkeep, "btrkeep cannot be started: " + last
	case status != sshFailed:
		return Other, fmt.Sprintf("btrkeep there ended with status %d: %s", status, last)
	case says("REMOTE HOST IDENTIFICATION HAS CHANGED"):
		return HostKeyChanged, "its host key has changed"
	case says("Host key verification failed"):
		return HostKeyUnknown, "its host key is not known"
	case says("Permission denied", "Too many authentication failures", "No supported authentication methods"):
		return KeyRefused, last
	case says("Connection refused", "No route to host", "Network is unreachable", "Network is down", "Host is down", "timed out", "Connection reset", "Connection closed", "closed by remote host",
		"Could not resolve hostname", "Broken pipe", "not responding", "Connection to "):
		return Down, last
	}
	return Other, "ssh: " + last
}

// lastLine is the last line of what somebody said, in which the reason stands, without what could harm a terminal.
func lastLine(text string) string {
	line := ""
	for l := range strings.Lines(text) {
		l = strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' || r == 0x7f {
				return -1
			}
			return r
		}, l)
		if l = strings.TrimSpace(l); l != "" {
			line = l
		}
	}
	if len(line) > 300 {
		line = line[:300] + "…"
	}
	return line
}
