package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// odd is a name that a terminal would obey.
const odd = "x\x1b]0;evil\x07\n\u202e\u009b31m\xff"

// inspected makes two snapshots, old and new, with changes of every kind between them, and gives their paths.
func inspected(t *testing.T, m *machine) (older, newer string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(m.home(), name) }
	testdisk.Tree(t, m.home(), testdisk.Spec{Files: 10, MaxSize: 10_000})
	for _, name := range []string{odd, "gone", "moved", "mode", "linked"} {
		m.write(name, name)
	}
	must(t, btrfs.Snapshot(m.home(), m.srcPath, "old", true))
	must(t, os.Rename(at(odd), at(odd+"2")))
	must(t, os.Link(at("linked"), at(odd+"link")))
	must(t, os.Rename(at("moved"), at(odd)))
	must(t, os.Remove(at("gone")))
	must(t, os.Chmod(at("mode"), 0o700))
	must(t, os.WriteFile(at("new"), []byte("new"), 0o600))
	must(t, os.WriteFile(at("kinds/hard"), []byte("rewritten"), 0o600))
	must(t, btrfs.Snapshot(m.home(), m.srcPath, "new", true))
	return filepath.Join(m.srcPath, "old"), filepath.Join(m.srcPath, "new")
}

// wantTame fails if a terminal would do something else than show the text.
func wantTame(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }) || !strings.HasSuffix(line, "\n") {
			t.Errorf("not fit for a terminal: %q", line)
		}
	}
}

// The fields that diff and dump print as JSON are as they were, and strange names are neither lost in it nor dangerous to look at.
func TestInspectJSON(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 0)
	older, newer := inspected(t, m)
	for _, args := range [][]string{{older, newer}, {"--all", older, newer}, {"--json", older, newer}, {"--json", newer, older}} {
		wantTame(t, m.must(append([]string{"diff"}, args...)...).stdout)
	}
	r := m.must("diff", "--json", older, newer)
	report := decode[struct {
		Changes []struct {
			Change     string
			PathBase64 []byte `json:"path_base64"`
			FromBase64 []byte `json:"from_base64"`
		}
	}](t, r)
	var names []string
	for _, c := range report.Changes {
		if len(c.PathBase64)+len(c.FromBase64) > 0 {
			names = append(names, fmt.Sprintf("%s %q %q", c.Change, c.FromBase64, c.PathBase64))
		}
	}
	want := []string{fmt.Sprintf("renamed %q %q", "", odd), fmt.Sprintf("renamed %q %q", odd, odd+"2"), fmt.Sprintf("added %q %q", "", odd+"link")}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	fields := map[string]bool{}
	shape("", decode[any](t, r), fields)
	golden(t, "json/diff", strings.Join(slices.Sorted(maps.Keys(fields)), "\n")+"\n")

	stream := filepath.Join(m.dir, "stream")
	must(t, os.WriteFile(stream, streamOf(t, older), 0o600))
	wantTame(t, m.must("dump", stream).stdout)
	r = m.must("dump", "--json", stream)
	wantTame(t, r.stdout)
	fields = map[string]bool{}
	commands := 0
	for line := range strings.Lines(r.stdout) {
		var v map[string]any
		must(t, json.Unmarshal([]byte(line), &v))
		if _, ok := v["summary"]; !ok {
			commands++
		}
		shape("", v, fields)
	}
	golden(t, "json/dump", strings.Join(slices.Sorted(maps.Keys(fields)), "\n")+"\n")
	if !strings.Contains(r.stdout, fmt.Sprintf(`{"summary":{"version":1,"commands":%d,"bytes":%d,`, commands, len(streamOf(t, older)))) {
		t.Errorf("not the summary of %d commands: %s", commands, r.stdout[strings.LastIndex(strings.TrimSpace(r.stdout), "\n"):])
	}
}

func streamOf(t *testing.T, snapshot string) []byte {
	t.Helper()
	stream, err := exec.Command("btrfs", "send", "-q", snapshot).Output()
	must(t, err)
	return stream
}

// A stream may come through a pipe; a terminal is no stream, and it is told where a damaged one ends to be whole.
func TestDumpInput(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 0)
	m.grow("file", 1, 300_000)
	must(t, btrfs.Snapshot(m.home(), m.srcPath, "snapshot", true))
	stream := streamOf(t, filepath.Join(m.srcPath, "snapshot"))
	dump := func(in []byte) (stdout, stderr string, status int) {
		c := exec.Command(program(t), "dump", "-")
		var out, said bytes.Buffer
		c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(in), &out, &said
		_ = c.Run() // the status says it
		return out.String(), said.String(), c.ProcessState.ExitCode()
	}
	whole, stderr, status := dump(stream)
	if status != 0 || stderr != "" || !strings.Contains(whole, "\nprotocol 1, ") {
		t.Fatalf("status %d: %s%s", status, whole, stderr)
	}
	damaged := bytes.Clone(stream)
	damaged[len(stream)/2]++
	for what, in := range map[string][]byte{"damaged": damaged, "cut": stream[:len(stream)-5], "no stream": []byte("hello"), "nothing": nil, "longer": append(bytes.Clone(stream), 0)} {
		stdout, stderr, status := dump(in)
		if status != 1 || !strings.HasPrefix(whole, stdout) || !strings.HasPrefix(stderr, "btrkeep: error: ") || !strings.Contains(stderr, "btrkeep: hint: ") {
			t.Errorf("%s: status %d\n%s\n%s", what, status, stdout, stderr)
		}
		if what == "damaged" && !strings.Contains(stderr, fmt.Sprintf("command %d at byte ", strings.Count(stdout, "\n")+1)) {
			t.Errorf("damaged after %d commands: %s", strings.Count(stdout, "\n"), stderr)
		}
	}

	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	defer terminal.Close()
	must(t, unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPTN)
	must(t, err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	defer slave.Close()
	c := exec.Command(program(t), "dump", "-")
	c.Stdin = slave
	out, _ := c.CombinedOutput()
	if c.ProcessState.ExitCode() != 2 || !strings.HasPrefix(string(out), "btrkeep: error: standard input is a terminal\nbtrkeep: hint: ") {
		t.Errorf("a terminal: status %d: %s", c.ProcessState.ExitCode(), out)
	}
}

// A stream of hundreds of megabytes is listed in little memory.
func TestDumpMemory(t *testing.T) {
	t.Parallel()
	c := exec.Command(program(t), "dump", "--json", "-")
	in, err := c.StdinPipe()
	must(t, err)
	must(t, c.Start())
	e, err := sendstream.NewEncoder(in, 2)
	must(t, err)
	must(t, e.Encode(sendstream.CmdSubvol, sendstream.Text(sendstream.AttrPath, "s"), sendstream.UUID(sendstream.AttrUUID, btrfs.UUID{1}), sendstream.Uint(sendstream.AttrCtransid, 1)))
	data := make([]byte, 256<<10)
	for i := range uint64(1200) {
		must(t, e.Encode(sendstream.CmdWrite, sendstream.Text(sendstream.AttrPath, "f"), sendstream.Uint(sendstream.AttrFileOffset, i<<18), sendstream.Value{Attr: sendstream.AttrData, Bytes: data}))
	}
	// The peak that rusage has begins with that of this process, from which the other was forked.
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid))
	must(t, err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var peak int
	if _, err := fmt.Sscanf(rest, "%d kB", &peak); err != nil || peak > 64<<10 {
		t.Errorf("%d KiB of memory, %v", peak, err)
	}
	t.Logf("%d KiB", peak)
	must(t, e.Encode(sendstream.CmdEnd))
	must(t, in.Close())
	must(t, c.Wait())
}
