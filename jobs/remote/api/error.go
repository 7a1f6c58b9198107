package api

import (
	"errors"
	"syscall"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/jobs"
)

// Error is an error of the far end, with what the callers here look for in one.
type Error struct {
	Text   string
	Hint   string        `json:",omitempty"`
	Is     []string      `json:",omitempty"` // names of known errors
	Errno  syscall.Errno `json:",omitempty"`
	Held   *Held         `json:",omitempty"`
	InUse  string        `json:",omitempty"` // what is being read
	Stack  string        `json:",omitempty"` // of a *sendstream.PanicError
	Joined []Error       `json:",omitempty"`
}

// Held is a *jobs.HeldError.
type Held struct {
	Path   string
	Holder jobs.Holder
}

// known are the errors that callers ask for, by the names that go over the line.
func known() map[string]error {
	return map[string]error{
		"absent":         jobs.ErrAbsent,
		"name taken":     jobs.ErrNameTaken,
		"foreign":        jobs.ErrForeign,
		"refused":        ErrRefused,
		"differs":        sendstream.ErrDiffers,
		"parent missing": btrfs.ErrParentMissing,
		"clone source":   btrfs.ErrCloneSource,
		"in use":         btrfs.ErrInUse,
		"corrupt":        sendstream.ErrCorrupt,
		"apply":          sendstream.ErrApply,
		"checkpoint":     sendstream.ErrCheckpoint,
		"version":        sendstream.ErrVersion,
	}
}

// maxStack is how much of a stack goes into the near end's log, in bytes: the frames that matter are the first.
const maxStack = 8 << 10

// ErrRefused means that the far end does not let this client do that.
var ErrRefused = errors.New("the far end does not allow that")

// Encode turns an error into what can be sent; nil into nil.
func Encode(err error) *Error {
	if err == nil {
		return nil
	}
	e := &Error{Text: err.Error(), Hint: jobs.Hint(err)}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // not one that wraps several in a text
		if parts := joined.Unwrap(); len(parts) > 0 && errors.Join(parts...).Error() == e.Text {
			for _, p := range parts {
				e.Joined = append(e.Joined, *Encode(p))
			}
			return e
		}
	}
	for name, k := range known() {
		if errors.Is(err, k) {
			e.Is = append(e.Is, name)
		}
	}
	errors.As(err, &e.Errno)
	var held *jobs.HeldError
	if errors.As(err, &held) {
		e.Held = &Held{held.Path, held.Holder}
		e.Held.Holder.Client = ""
	}
	var inUse *jobs.InUseError
	if errors.As(err, &inUse) {
		e.InUse = inUse.Name
	}
	if p, ok := errors.AsType[*sendstream.PanicError](err); ok {
		e.Stack = string(p.Stack[:min(len(p.Stack), maxStack)])
	}
	return e
}

// Decode is the error again; nil for nil.
func (e *Error) Decode() error {
	if e == nil {
		return nil
	}
	if len(e.Joined) > 0 {
		var all []error
		for _, p := range e.Joined {
			all = append(all, p.Decode())
		}
		return errors.Join(all...)
	}
	f := &farError{text: e.Text}
	all := known()
	for _, name := range e.Is {
		if k, ok := all[name]; ok {
			f.wrapped = append(f.wrapped, k)
		}
	}
	if e.Errno != 0 {
		f.wrapped = append(f.wrapped, e.Errno)
	}
	if e.Held != nil {
		f.wrapped = append(f.wrapped, &jobs.HeldError{Path: e.Held.Path, Holder: e.Held.Holder})
	}
	if e.Stack != "" {
		f.wrapped = append(f.wrapped, &sendstream.PanicError{Value: e.Text, Stack: []byte(e.Stack[:min(len(e.Stack), maxStack)])})
	}
	if e.InUse != "" {
		return &jobs.InUseError{Name: e.InUse}
	}
	if e.Hint != "" {
		return &jobs.HintError{Err: f, Hint: e.Hint}
	}
	return f
}

// farError has the text of the far end, and is what that error was.
type farError struct {
	text    string
	wrapped []error
}

func (e *farError) Error() string { return e.text }

func (e *farError) Is(target error) bool {
	for _, w := range e.wrapped {
		if errors.Is(w, target) {
			return true
		}
	}
	return false
}

func (e *farError) As(target any) bool {
	for _, w := range e.wrapped {
		if errors.As(w, target) {
			return true
		}
	}
	return false
}
