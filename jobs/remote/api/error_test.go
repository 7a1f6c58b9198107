package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/jobs"
)

// over is an error as it comes out at the other end of a line.
func over(t *testing.T, err error) error {
	t.Helper()
	b, e := json.Marshal(Encode(err))
	if e != nil {
		t.Fatal(e)
	}
	var far *Error
	if e := json.Unmarshal(b, &far); e != nil {
		t.Fatal(e)
	}
	return far.Decode()
}

func TestErrors(t *testing.T) {
	if over(t, nil) != nil {
		t.Error("no error became one")
	}
	held := &jobs.HeldError{Path: "/srv/.btrkeep.lock", Holder: jobs.Holder{PID: 7, Job: "home", Since: time.Unix(1e9, 0).UTC(), Client: "secret"}}
	for _, err := range []error{
		jobs.ErrAbsent,
		fmt.Errorf("open: %w", jobs.ErrNameTaken),
		&jobs.HintError{Err: fmt.Errorf("x: %w", syscall.ENOSPC), Hint: "make room"},
		fmt.Errorf("lock: %w", held),
		errors.Join(nil, fmt.Errorf("one: %w", btrfs.ErrParentMissing)),
		errors.Join(fmt.Errorf("one: %w", btrfs.ErrParentMissing), &jobs.HintError{Err: ErrRefused, Hint: "ask"}),
		fmt.Errorf("both: %w: %w", jobs.ErrAbsent, syscall.EIO),
	} {
		got := over(t, err)
		if got.Error() != err.Error() || jobs.Hint(got) != jobs.Hint(err) {
			t.Errorf("%q, %q became %q, %q", err, jobs.Hint(err), got, jobs.Hint(got))
		}
		for _, sentinel := range []error{jobs.ErrAbsent, jobs.ErrNameTaken, syscall.ENOSPC, syscall.EIO, btrfs.ErrParentMissing, ErrRefused} {
			if errors.Is(got, sentinel) != errors.Is(err, sentinel) {
				t.Errorf("%q: %v: %t", err, sentinel, errors.Is(got, sentinel))
			}
		}
		var h *jobs.HeldError
		if is := errors.As(got, &h); is != errors.As(err, new(*jobs.HeldError)) || is && (h.Holder.Client != "" || h.Holder.PID != 7 || h.Path != held.Path) {
			t.Errorf("%q: %+v", err, h)
		}
	}
}

// Where a panic was is told to the near end, which has a log.
func TestPanic(t *testing.T) {
	err := errors.Join(fmt.Errorf("receive: %w", &sendstream.PanicError{Value: "a mistake", Stack: []byte("goroutine 1:" + strings.Repeat("x", 1<<20))}), errors.New("and another"))
	got := over(t, err)
	p, ok := errors.AsType[*sendstream.PanicError](got)
	if got.Error() != err.Error() || !ok || !strings.HasPrefix(string(p.Stack), "goroutine 1:x") || len(p.Stack) > maxStack {
		t.Errorf("%v: %v", got, p)
	}
}

// Each of several that are in use comes over, however they were joined.
func TestInUse(t *testing.T) {
	var err error
	for _, name := range []string{"a", "b", "c"} {
		err = errors.Join(err, &jobs.InUseError{Name: name})
	}
	var names []string
	var walk func(error)
	walk = func(err error) {
		var one *jobs.InUseError
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				walk(e)
			}
		} else if errors.As(err, &one) {
			names = append(names, one.Name)
		}
	}
	walk(over(t, errors.Join(err, nil)))
	if !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("%q", names)
	}
}

func TestPath(t *testing.T) {
	for _, p := range []Path{"", "/srv/a b", "/\xff\xfe", "/%41", "/ü/\n"} {
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var got Path
		if err := json.Unmarshal(b, &got); err != nil || got != p {
			t.Errorf("%q became %q, %v", p, got, err)
		}
	}
}
