// Package testssh gives tests another machine: a real sshd with throw-away keys, on the loopback address or at the far end of a bad line, and an ssh
// that knows it and looks at nobody's configuration. The other machine has the same disks as this one.
package testssh

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/netfault"
)

// Options describes the other machine.
type Options struct {
	Link    *netfault.Link // the way there; nil is the loopback device
	Program string         // what a login finds as btrkeep; "" is nothing
	Noise   string         // what its login script says on standard output
}

// Server is the other machine.
type Server struct {
	Addr  netip.AddrPort
	SSH   []string // the client's program and first arguments, with a key that may do everything
	State string   // where btrkeep keeps its state there

	t       testing.TB
	dir     string
	sshd    []string
	near    []string // what a command is run with at either end
	there   []string
	kex     string // a line of ssh_config(5)
	daemon  *exec.Cmd
	listens chan struct{} // closed when it does
	said    chan []byte   // all that it has logged, in the end
	keys    int

	mu     sync.Mutex
	logins int
}

// New makes the other machine; it lives as long as the test, with all that its sessions have started. The programs of OpenSSH have to be there.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	s := build(t, o, "KexAlgorithms curve25519-sha256") // which takes half as long as what ssh would choose
	s.Start()
	t.Cleanup(func() { s.Stop() })
	return s
}

// Make is New for one that is switched off, and whose logins take what they take.
func Make(t testing.TB, o Options) *Server {
	t.Helper()
	return build(t, o, "")
}

func build(t testing.TB, o Options, kex string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "far") // not t.TempDir: its name is that of the test, which ssh's configuration may take for something else
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{t: t, dir: dir, kex: kex}
	s.State = s.file("state")
	if o.Link != nil {
		s.Addr, s.near, s.there = netip.AddrPortFrom(o.Link.Far.Addr, 22), o.Link.Near.Enter(), o.Link.Far.Enter()
	} else {
		s.Addr = freePort(t)
	}
	sshd, err := exec.LookPath("sshd")
	s.must(err)
	s.sshd = []string{sshd, "-D", "-e", "-f", s.file("sshd_config")}
	s.must(os.MkdirAll("/run/sshd", 0o755)) // sshd wants it
	s.newKey("host")
	if o.Program != "" {
		program, err := filepath.Abs(o.Program)
		s.must(err)
		s.must(os.Symlink(program, s.file("btrkeep")))
	}
	// What root's shell finds, and where btrkeep keeps what it keeps there. No login reads this machine's ~/.bashrc, which may do anything; and bash reads BASH_ENV before a command that it is given.
	env := fmt.Sprintf("SetEnv HOME=%[1]s PATH=%[1]s:%[2]s BTRKEEP_STATE_DIR=%[3]s BTRKEEP_RUNTIME_DIR=%[4]s", s.dir, os.Getenv("PATH"), s.State, s.file("run"))
	if o.Noise != "" {
		s.write("noise", "cat <<'NOISE'\n"+o.Noise+"\nNOISE\n")
		env += " BASH_ENV=" + s.file("noise")
	}
	s.write("sshd_config", fmt.Sprintf("ListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\nUseDNS no\nMaxStartups 100\n"+
		"PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n%s\n", s.Addr, s.file("host"), s.file("authorized_keys"), env))
	s.SSH = s.Authorize("")
	s.Meet()
	return s
}

func (s *Server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) write(name, text string) {
	s.t.Helper()
	s.must(os.WriteFile(s.file(name), []byte(text), 0o600))
}

func (s *Server) newKey(name string) {
	s.t.Helper()
	for _, old := range []string{name, name + ".pub"} {
		_ = os.Remove(s.file(old)) // there may be none
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.file(name)).CombinedOutput(); err != nil {
		s.t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
}

// Authorize makes a key, lets it in with options as in authorized_keys(5) (such as `restrict,command="…"`), and gives the ssh that uses it.
func (s *Server) Authorize(options string) (ssh []string) {
	s.t.Helper()
	ssh, public := s.Stranger()
	f, err := os.OpenFile(s.file("authorized_keys"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	s.must(err)
	defer f.Close()
	_, err = fmt.Fprintln(f, strings.TrimSpace(options+" "+public))
	s.must(err)
	return ssh
}

// OnlyAuthorize lets in what one line of authorized_keys(5) does, and nobody else.
func (s *Server) OnlyAuthorize(line string) {
	s.t.Helper()
	s.write("authorized_keys", line+"\n")
}

// Stranger is an ssh with a key that is not let in.
func (s *Server) Stranger() (ssh []string, public string) {
	s.t.Helper()
	name := fmt.Sprintf("key%d", s.keys)
	s.keys++
	s.newKey(name)
	b, err := os.ReadFile(s.file(name + ".pub"))
	s.must(err)
	s.write(name+".config", fmt.Sprintf("IdentityFile %s\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile %s\nGlobalKnownHostsFile none\nStrictHostKeyChecking yes\n%s\n", s.file(name), s.file("known_hosts"), s.kex))
	return append(s.near[:len(s.near):len(s.near)], "ssh", "-F", s.file(name+".config")), strings.TrimSpace(string(b))
}

// Meet has ssh know the host's key as it is now.
func (s *Server) Meet() {
	s.t.Helper()
	key, err := os.ReadFile(s.file("host.pub"))
	s.must(err)
	s.write("known_hosts", fmt.Sprintf("[%s]:%d %s%[1]s %[3]s", s.Addr.Addr(), s.Addr.Port(), key))
}

// Forget has ssh know no host at all.
func (s *Server) Forget() {
	s.t.Helper()
	s.write("known_hosts", "")
}

// NewHostKey gives the machine another key than the one that ssh knows.
func (s *Server) NewHostKey() {
	s.t.Helper()
	s.Stop()
	s.newKey("host")
	s.Start()
}

// URL is that of a path there.
func (s *Server) URL(path string) string { return fmt.Sprintf("ssh://root@%s%s", s.Addr, path) }

// Env is what the near btrkeep needs to use ssh.
func (s *Server) Env(ssh []string) string { return "BTRKEEP_SSH=" + strings.Join(ssh, " ") }

// Command is what ssh runs there, for a shell.
func (s *Server) Command(argv ...string) []string {
	return append(append(s.SSH[:len(s.SSH):len(s.SSH)], "-oBatchMode=yes", "-p", fmt.Sprint(s.Addr.Port()), "root@"+s.Addr.Addr().String()), argv...)
}

// Logins is how many sessions were let in so far.
func (s *Server) Logins() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

// Start has sshd listen, as the first process of a process namespace with a /proc of its own: all that its sessions leave behind becomes its child and ends with it. What is mounted and unmounted here is there, too.
func (s *Server) Start() {
	s.t.Helper()
	s.must(unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, "")) // of the isolated test process
	const script = `mount --make-rslave / && mount -t proc proc /proc && exec "$@"`
	argv := slices.Concat(s.there, []string{"sh", "-c", script, "sh"}, s.sshd)
	s.daemon = exec.Command(argv[0], argv[1:]...)
	s.daemon.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	out, err := s.daemon.StderrPipe()
	s.must(err)
	s.must(s.daemon.Start())
	s.listens, s.said = make(chan struct{}), make(chan []byte, 1)
	go func() {
		var all []byte
		listens := false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			line := lines.Bytes()
			all = append(append(all, line...), '\n')
			if bytes.HasPrefix(line, []byte("Accepted ")) {
				s.mu.Lock()
				s.logins++
				s.mu.Unlock()
			}
			if !listens && bytes.HasPrefix(line, []byte("Server listening")) {
				listens = true
				close(s.listens)
			}
		}
		s.said <- all
	}()
	select {
	case <-s.listens:
	case said := <-s.said:
		s.t.Fatalf("%q has ended: %s", s.sshd, said)
	case <-time.After(10 * time.Second):
		s.t.Fatalf("%q does not listen", s.sshd)
	}
}

// Stop ends sshd and all that its sessions have started, at once, and gives what they took; nil if it was not on. What is ended by that counts as nobody's time.
func (s *Server) Stop() *os.ProcessState {
	s.t.Helper()
	if s.daemon == nil {
		return nil
	}
	_ = s.daemon.Process.Kill() // its sessions with it: see pid_namespaces(7); other signals are lost on it until it has handlers for them
	said := <-s.said
	err := s.daemon.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("sshd: %v\n%s", err, said)
	}
	ended := s.daemon.ProcessState
	s.daemon = nil
	return ended
}

// Sessions are the processes beside sshd itself.
func (s *Server) Sessions() []int {
	s.t.Helper()
	of := func(process string) string {
		namespace, _ := os.Readlink(process + "/ns/pid") // "" for one that has just ended
		return namespace
	}
	daemon := fmt.Sprintf("/proc/%d", s.daemon.Process.Pid)
	there := of(daemon)
	all, err := filepath.Glob("/proc/[0-9]*")
	s.must(err)
	var found []int
	for _, process := range all {
		if process != daemon && of(process) == there {
			pid, _ := strconv.Atoi(filepath.Base(process)) // digits
			found = append(found, pid)
		}
	}
	return found
}

func freePort(t testing.TB) netip.AddrPort {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// Program builds btrkeep, once per test process, and gives its path: what the other machine has, or what a test of the whole program runs.
// $BTRKEEP_TEST_GOARCH makes it one for another kind of machine, which this one must be able to run: 386 is how 32 bits are tested.
func Program(t testing.TB) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "bin") // below the scratch directory of the isolation, which removes it in the end
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "btrkeep")
	cmd := exec.Command("go", "build", "-o", path, "github.com/btrkeep/btrkeep/cmd/btrkeep")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+cmp.Or(os.Getenv("BTRKEEP_TEST_GOARCH"), runtime.GOARCH))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return path, nil
})
