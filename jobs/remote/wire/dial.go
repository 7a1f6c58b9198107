package wire

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/child"
	"github.com/btrkeep/btrkeep/internal/throttle"
)

// Dialer makes lines.
type Dialer struct {
	SSH     []string              // program and first arguments; nil: ssh
	Command string                // for the far end's shell, unless the key is bound to another
	Stall   time.Duration         // a far end that does not answer for so long is gone
	Version string                // of btrkeep, for the far end
	Rate    func(time.Time) int64 // what may go over the line, both directions together, in bytes per second; 0 or nil: no limit
}

// Target is who is called, as ssh(1) takes it: Host may be a name from its configuration.
type Target struct{ User, Host, Port string }

// login is how long a login may take, its prompts and scripts included.
const login = 2 * time.Minute

// pipe is the size of the pipes to and from ssh, in bytes.
const pipe = 1 << 20

// Dial connects. Errors are *DialError, or that of ctx.
func (d Dialer) Dial(ctx context.Context, t Target) (*Client, error) {
	in, sshOut, err := pipes()
	if err != nil {
		return nil, err
	}
	sshIn, out, err := pipes()
	if err != nil {
		in.Close()
		sshOut.Close()
		return nil, err
	}
	s := &ssh{}
	s.start(child.Command{Argv: d.argv(t), Stdin: sshIn, Stdout: sshOut}, func() {
		sshIn.Close()
		sshOut.Close()
	})
	var limit *throttle.Throttle
	if d.Rate != nil {
		limit = throttle.New(d.Rate)
	}
	c := newConn(bufio.NewReaderSize(in, frame), in, out, limit)
	if err := d.greet(ctx, c, s, t); err != nil {
		_ = c.Close()
		s.end(0)
		return nil, err
	}
	client, err := newClient(ctx, c, s, d.Stall)
	if err != nil {
		_ = c.Close()
		s.end(0)
		return nil, err
	}
	return client, nil
}

// argv is that of ssh: it must ask nothing, notice by itself when the line is dead, and leave nothing running.
func (d Dialer) argv(t Target) []string {
	argv := d.SSH
	if len(argv) == 0 {
		argv = []string{"ssh"}
	}
	argv = append(argv[:len(argv):len(argv)],
		"-oBatchMode=yes", "-oConnectTimeout=30", "-oServerAliveInterval=15", "-oServerAliveCountMax=4",
		"-oControlMaster=no", "-oClearAllForwardings=yes", "-oForwardAgent=no", "-oForwardX11=no", "-oRequestTTY=no", "-oCompression=no")
	return append(append(argv, t.words()...), d.Command)
}

// Query is the argument vector of an ssh that only prints the configuration that it would use; see ssh -G.
func (d Dialer) Query(t Target) []string {
	argv := d.SSH
	if len(argv) == 0 {
		argv = []string{"ssh"}
	}
	return append(append(argv[:len(argv):len(argv)], "-G"), t.words()...)
}

// words are the target as ssh's arguments.
func (t Target) words() (argv []string) {
	if t.User != "" {
		argv = append(argv, "-l", t.User)
	}
	if t.Port != "" {
		argv = append(argv, "-p", t.Port)
	}
	return append(argv, "--", t.Host)
}

// greet reads the far end's greeting and answers it.
func (d Dialer) greet(ctx context.Context, c *conn, s *ssh, t Target) error {
	patience := min(login, cmp.Or(d.Stall, login))
	_ = c.SetReadDeadline(time.Now().Add(patience))
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	g, noise, err := readGreeting(c.in)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return d.failed(t, s, patience, noise, err)
	}
	stop()
	_ = c.SetReadDeadline(time.Time{})
	protocol, ok := agree(g)
	if !ok {
		return &DialError{Host: t.Host, Kind: OtherVersion, text: fmt.Sprintf("btrkeep %s there speaks protocol %d to %d, btrkeep %s here %d to %d",
			g.version, g.oldest, g.newest, d.Version, oldestProtocol, newestProtocol), older: g.newest < oldestProtocol}
	}
	if _, err := c.Write([]byte(choice{protocol, cmp.Or(d.Version, "unknown")}.String())); err != nil {
		return d.failed(t, s, patience, noise, err)
	}
	return nil
}

// pipes makes a pipe that is as large as it may be.
func pipes() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err != nil {
		return nil, nil, err
	}
	if raw, err := w.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipe) }) // only slower without
	}
	return r, w, nil
}
