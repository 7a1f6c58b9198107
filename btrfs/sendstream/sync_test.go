package sendstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

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
