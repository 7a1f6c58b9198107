package sendstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

var endBytes = []byte{0, 0, 0, 0, 0x15, 0, 0x50, 0x6c, 0xc9, 0x9d}

// tapped gives what a tap passes on. Its window is small, for the many calls of it.
func tapped(tap *Tap, src io.Reader) ([]byte, Summary, error) {
	var out bytes.Buffer
	sum, err := tap.copy(context.Background(), &out, newWindow(src, 8<<10))
	return out.Bytes(), sum, err
}

func TestTapPassesKernelStreams(t *testing.T) {
	for _, c := range corpora(t) {
		for _, n := range []int{1, 13, 4096, 1 << 20} {
			out, sum, err := tapped(&Tap{}, &trickle{c.stream, n})
			ok(t, err)
			if !bytes.Equal(out, c.stream) {
				t.Errorf("%s, %d bytes at a time: altered", c.name, n)
			}
			if !sum.Ended || sum.Bytes != int64(len(c.stream)) || sum.UUID.IsZero() {
				t.Errorf("%s: %+v", c.name, sum)
			}
		}
	}
}

// The renamed stream is another one in its first command only, whatever the lengths of the names.
func TestTapRenames(t *testing.T) {
	for _, c := range corpora(t) {
		for _, name := range []string{"x", ".partial-20261123T115600Z-0123456789abcdef", strings.Repeat("n", 255)} {
			out, sum, err := tapped(&Tap{Name: name}, bytes.NewReader(c.stream))
			ok(t, err)
			if sum.Path == name || sum.Path == "" {
				t.Errorf("%s: path %q", c.name, sum.Path)
			}
			if sum.Bytes != int64(len(out)) {
				t.Errorf("%s: %d bytes of %d", c.name, sum.Bytes, len(out))
			}
			was, is := commandsOf(t, c.stream), commandsOf(t, out)
			was[0]["path"] = name
			if diff := cmp.Diff(was, is); diff != "" {
				t.Errorf("%s as %s: %s", c.name, name, diff)
			}
		}
	}
	for _, name := range []string{"a/b", "..", ".", "a\x00b", strings.Repeat("n", 256)} {
		if _, _, err := tapped(&Tap{Name: name}, nil); err == nil || errors.Is(err, ErrCorrupt) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func commandsOf(t *testing.T, stream []byte) []map[string]string {
	t.Helper()
	var all []map[string]string
	d := NewDecoder(bytes.NewReader(stream))
	for {
		c, err := d.Next()
		if err == io.EOF {
			return all
		}
		ok(t, err)
		m := map[string]string{"command": c.Cmd.String()}
		for a, v := range c.Attrs() {
			m[a.String()] = string(v)
		}
		all = append(all, m)
	}
}

func TestTapSummary(t *testing.T) {
	raw := streamOf(t, 2, snapshot, mkfile("f"), write("f", 0, make([]byte, 1000)),
		command(CmdEncodedWrite, path("f"), Uint(AttrFileOffset, 0), Uint(AttrUnencodedFileLen, 9000), Uint(AttrUnencodedLen, 9000),
			Uint(AttrUnencodedOffset, 0), Uint(AttrCompression, 2), Value{AttrData, make([]byte, 50)}),
		command(CmdUpdateExtent, path("f"), Uint(AttrFileOffset, 0), Uint(AttrSize, 1<<20)), end)
	_, got, err := tapped(&Tap{}, bytes.NewReader(raw))
	ok(t, err)
	want := Summary{
		Version: 2, UUID: testUUID, Ctransid: 77, ParentUUID: parentUUID, Path: "sent",
		Bytes: int64(len(raw)), Commands: 6, DataBytes: 1050 + 1<<20, Ended: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TROUBLE 4: END is passed on only after the end of the input, and after Confirm has agreed.
func TestTapWithholdsEnd(t *testing.T) {
	raw := streamOf(t, 1, subvol, mkfile("f"), end)
	sent, no := len(raw)-len(endBytes), errors.New("exit status 1")
	r, w := io.Pipe()
	var out bytes.Buffer
	asked := make(chan int, 1)
	tap := Tap{Confirm: func() error { asked <- out.Len(); return no }}
	done := make(chan error)
	go func() { _, err := tap.Copy(context.Background(), &out, r); done <- err }()
	_, err := w.Write(raw)
	ok(t, err)
	select {
	case <-asked:
		t.Fatal("asked before the end of the input")
	case <-time.After(20 * time.Millisecond):
	}
	w.Close()
	if got := <-asked; got != sent {
		t.Errorf("%d bytes were passed on before Confirm, want %d", got, sent)
	}
	if err := <-done; !errors.Is(err, no) {
		t.Error(err)
	}
	if out.Len() != sent {
		t.Error("END was passed on")
	}
}

// What is there is passed on while the source thinks.
func TestTapDoesNotWait(t *testing.T) {
	raw := streamOf(t, 1, subvol, mkfile("f"))
	r, w := io.Pipe()
	got := make(chan int, 9)
	done := make(chan error)
	go func() {
		_, err := (&Tap{}).Copy(context.Background(), writerFunc(func(b []byte) (int, error) { got <- len(b); return len(b), nil }), r)
		done <- err
	}()
	_, err := w.Write(raw)
	ok(t, err)
	for n := 0; n < len(raw); {
		select {
		case more := <-got:
			n += more
		case <-time.After(5 * time.Second):
			t.Fatalf("%d of %d bytes came", n, len(raw))
		}
	}
	w.CloseWithError(io.ErrClosedPipe)
	if err := <-done; !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

func TestTapErrorsOfOthers(t *testing.T) {
	raw := streamOf(t, 1, subvol, write("f", 0, make([]byte, 40000)), end)
	broken := errors.New("broken")
	src := io.MultiReader(bytes.NewReader(raw[:20000]), errReader{broken})
	if _, _, err := tapped(&Tap{}, src); !errors.Is(err, broken) || errors.Is(err, ErrCorrupt) {
		t.Errorf("src: %v", err)
	}
	src = io.MultiReader(bytes.NewReader(raw), errReader{broken})
	if out, _, err := tapped(&Tap{}, src); !errors.Is(err, broken) || bytes.HasSuffix(out, endBytes) {
		t.Errorf("src after END: %v", err)
	}
	for _, n := range []int{0, 100} {
		full := writerFunc(func(b []byte) (int, error) { return min(n, len(b)), nil })
		if _, err := (&Tap{}).Copy(context.Background(), full, bytes.NewReader(raw)); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("dst: %v", err)
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(broken)
	if _, err := (&Tap{}).Copy(ctx, io.Discard, bytes.NewReader(raw)); !errors.Is(err, broken) {
		t.Errorf("ctx: %v", err)
	}
	// Cancelled in the middle: no END.
	ctx, cancel = context.WithCancelCause(context.Background())
	var out bytes.Buffer
	tap := Tap{Progress: func(int64) { cancel(broken) }}
	if _, err := tap.Copy(ctx, &out, bytes.NewReader(raw)); !errors.Is(err, broken) || bytes.HasSuffix(out.Bytes(), endBytes) {
		t.Errorf("ctx: %v", err)
	}
}

func TestTapProgress(t *testing.T) {
	raw := streamOf(t, 1, subvol, write("f", 0, make([]byte, 48<<10)), write("f", 0, make([]byte, 48<<10)), end)
	var told []int64
	_, sum, err := tapped(&Tap{Progress: func(n int64) { told = append(told, n) }}, &trickle{raw, 1000})
	ok(t, err)
	if len(told) < 2 || len(told) > 20 || told[len(told)-1] != sum.Bytes {
		t.Errorf("%v of %d", told, sum.Bytes)
	}
}

// btrfs receive takes what a tap has renamed, full and incremental.
func TestTapBeforeReceive(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{})
	source, target := filepath.Join(disk.Path, "source"), filepath.Join(disk.Path, "target")
	run(t, "btrfs", "subvolume", "create", source)
	ok(t, os.Mkdir(target, 0o700))
	corpusTree(t, source)
	first := takeSnapshot(t, source, "first")
	corpusChanges(t, source)
	second := takeSnapshot(t, source, "second")
	for _, step := range []struct {
		name string
		args []string
	}{{".full", []string{first}}, {".incremental", []string{"--proto", "2", "-p", first, second}}} {
		out, _, err := tapped(&Tap{Name: step.name}, bytes.NewReader(send(t, step.args...)))
		ok(t, err)
		receive := exec.Command("btrfs", "receive", target)
		receive.Stdin = bytes.NewReader(out)
		if text, err := receive.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		sent := step.args[len(step.args)-1]
		diffs, err := testdisk.Compare(sent, filepath.Join(target, step.name))
		ok(t, err)
		if len(diffs) > 0 {
			t.Error(diffs)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }
