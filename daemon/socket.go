package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketPath is where the control socket of a runtime directory is.
func socketPath(runtimeDir string) string { return filepath.Join(runtimeDir, "control.sock") }

// maxSocketPath is what fits into sockaddr_un, unix(7), with its final NUL.
const maxSocketPath = 107

// listen opens the control socket. A socket that a killed daemon left is replaced: the caller holds the lock that says that nobody listens there.
func listen(ctx context.Context, runtimeDir string) (net.Listener, error) {
	path := socketPath(runtimeDir)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("control socket %s: a socket's path has %d bytes at most: choose a shorter runtime_dir", path, maxSocketPath)
	}
	switch st, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("control socket: %w", err)
	case st.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("control socket: %s is in the way and is not a socket", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
	}
	// The kernel makes the file with the mode that the socket has when it is bound, less the umask. A chmod afterwards would leave it open to others
	// for a moment, and the umask is the whole process's.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, failed)
	}}
	l, err := private.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &guarded{l.(*net.UnixListener)}, nil
}

// guarded accepts connections of root and of the daemon's own user only, should the socket's mode ever be changed.
type guarded struct{ *net.UnixListener }

func (g *guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if uid, err := peer(c); err == nil && (uid == 0 || int(uid) == os.Geteuid()) {
			return c, nil
		}
		_ = c.Close()
	}
}

// peer is the user at the other end, SO_PEERCRED in unix(7).
func peer(c *net.UnixConn) (uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, failed); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
