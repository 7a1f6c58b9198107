package sendstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// A mistake in what the receiver calls, or in the receiver itself, is an error of this one stream and not the end of the process.
func TestReceiverPanics(t *testing.T) {
	dir := testdisk.New(t, testdisk.Options{}).Path
	err := Receiver{IOPriority: 3 << 13, Sync: func() error { panic("what now") }}.Receive(context.Background(), dir, "received", bytes.NewReader(streamOf(t, 1, subvol, end)))
	var p *PanicError
	if !errors.As(err, &p) || p.Value != "what now" || !bytes.Contains(p.Stack, []byte("sync_test.go")) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v, want the panic, and apart from that where it was", err)
	}
	wantIncomplete(t, filepath.Join(dir, "received"))
}

// What both ends have agreed on is the newest protocol that is taken.
func TestReceiverMaxVersion(t *testing.T) {
	dir := testdisk.New(t, testdisk.Options{}).Path
	for version := 1; version <= MaxVersion; version++ {
		for most := range MaxVersion + 1 {
			name := fmt.Sprintf("%d-%d", version, most)
			err := Receiver{MaxVersion: most}.Receive(context.Background(), dir, name, bytes.NewReader(streamOf(t, version, subvol, end)))
			if taken := most == 0 || version <= most; taken != (err == nil) || !taken && !errors.Is(err, ErrVersion) {
				t.Errorf("version %d, at most %d: %v", version, most, err)
			}
		}
	}
}

// Sync is called once, when all of the stream is there and nothing calls it received; what it cannot write stays without a name, so to speak.
// A stream that is not whole is none to be written.
func TestSync(t *testing.T) {
	l := newLab(t, "")
	tree := filepath.Join(l.source, "tree")
	ok(t, btrfs.Create(l.source, "tree"))
	testdisk.Tree(t, tree, testdisk.Spec{Seed: 3, Files: 30, MaxSize: 64 << 10})
	sent := takeSnapshot(t, tree, "sent")
	stream := send(t, sent)
	lost := errors.New("the disk lost it")
	for name, test := range map[string]struct {
		stream []byte
		says   error // Sync
		synced int
		want   error
	}{
		"whole":    {stream, nil, 1, nil},
		"lost":     {stream, lost, 1, lost},
		"cut":      {stream[:len(stream)-10], nil, 0, io.ErrUnexpectedEOF},
		"going on": {append(bytes.Clone(stream), 0), nil, 0, ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			target := filepath.Join(l.native, name)
			synced := 0
			unmarked := func() {
				t.Helper()
				s, err := btrfs.Info(target)
				ok(t, err)
				if s.ReadOnly || !s.ReceivedUUID.IsZero() {
					t.Errorf("not on the disk, and yet %+v", s)
				}
			}
			err := Receiver{Sync: func() error {
				synced++
				unmarked()
				wantBackup(t, sent, target)
				return test.says
			}}.Receive(context.Background(), l.native, name, bytes.NewReader(test.stream))
			if !errors.Is(err, test.want) || synced != test.synced {
				t.Errorf("%v after %d calls, want %v after %d", err, synced, test.want, test.synced)
			}
			if test.want != nil {
				unmarked()
				return
			}
			wantStamped(t, sent, target)
		})
	}
}
