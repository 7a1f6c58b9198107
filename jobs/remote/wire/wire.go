// Package wire is the line between two btrkeeps: HTTP/2 over the standard input and output of the OpenSSH client, which has made the connection with its user's
// configuration, keys and known hosts.
//
// The far end speaks first, with a greeting that tells its version and the protocols that it speaks. All before that is noise of a login script and is skipped. Nothing is
// written before the greeting has come: what answers may be no btrkeep. The near end chooses the protocol, and HTTP/2 begins.
package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// The versions of the protocol that this btrkeep speaks. What an older end must not ignore, or cannot do without, makes a new one; fields and requests are added without.
const (
	oldestProtocol = 1
	newestProtocol = 1
)

// greetingMark begins the far end's greeting. No login script says that.
const greetingMark = "\x00btrkeep wire\x00"

const (
	maxNoise    = 64 << 10 // before the greeting
	maxGreeting = 200
)

// ErrDropped means that the line was lost while it was in use.
var ErrDropped = errors.New("the connection was lost")

const (
	// window is what may be under way in a stream, in bytes: twice what ssh lets be, so that it is never what one waits for, and well below jobs.UnderWay, as a receiver has read ahead, too.
	window = 4 << 20
	frame  = 256 << 10

	idlePing = 15 * time.Second // a line over which nothing comes for so long is asked whether it is there
)

// onlyHTTP2 is HTTP/2 without encryption, which ssh has, and without the choice of another: RFC 9113 section 3.3.
func onlyHTTP2() *http.Protocols {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	return &p
}

// greeting is what the far end says: "<mark>1-1 v1.2.3\n".
type greeting struct {
	oldest, newest int
	version        string
}

func (g greeting) String() string {
	return fmt.Sprintf("%s%d-%d %s\n", greetingMark, g.oldest, g.newest, g.version)
}

// choice is what the near end answers: "1 v1.2.3\n".
type choice struct {
	protocol int
	version  string
}

func (c choice) String() string { return fmt.Sprintf("%d %s\n", c.protocol, c.version) }

// readGreeting skips noise, which it gives for a message when nothing else has come.
func readGreeting(r *bufio.Reader) (g greeting, noise string, err error) {
	var before []byte
	for !strings.HasSuffix(string(before), greetingMark) {
		b, err := r.ReadByte()
		if err != nil {
			return g, string(before), err
		}
		if before = append(before, b); len(before) > maxNoise {
			return g, string(before), errNoise
		}
	}
	noise = strings.TrimSuffix(string(before), greetingMark)
	text, err := readLine(r)
	if err != nil {
		return g, noise, err
	}
	if n, err := fmt.Sscanf(text, "%d-%d %s", &g.oldest, &g.newest, &g.version); err != nil || n != 3 {
		return g, noise, fmt.Errorf("bad greeting %q", text)
	}
	return g, noise, nil
}

var errNoise = errors.New("too much noise")

func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		b, err := r.ReadByte()
		switch {
		case err == io.EOF:
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		case b == '\n':
			return string(line), nil
		case len(line) == maxGreeting:
			return "", fmt.Errorf("bad greeting %q…", line)
		}
		line = append(line, b)
	}
}

// agree is the newest protocol that both speak.
func agree(far greeting) (int, bool) {
	p := min(far.newest, newestProtocol)
	return p, p >= far.oldest && p >= oldestProtocol
}
