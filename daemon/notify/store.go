package notify

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/btrkeep/btrkeep/internal/atomicfile"
)

// file is the name of what is kept in the state directory.
const file = "notify.json"

// kept is what is in it.
type kept struct {
	ledger
	outbox
}

// recall reads what an earlier daemon has told, and what it could not tell. What cannot be read is forgotten: then something is told twice.
func (n *Notifier) recall(dir string) {
	n.ledger, n.outbox = newLedger(), outbox{busy: map[string]bool{}}
	b, err := os.ReadFile(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(b, &k)
	}
	if err != nil {
		n.log.Warn("what has been told before is not known: " + err.Error())
		return
	}
	if k.Told != nil {
		n.ledger.Told = k.Told
	}
	n.outbox.Entries = slices.DeleteFunc(k.Entries, func(e *entry) bool { return e == nil || e.Way == byCommand && len(e.Argv) == 0 })
}

// save writes it. The file holds urls that may be secret, and is for its owner alone.
func (n *Notifier) save() {
	n.saving.Lock()
	defer n.saving.Unlock()
	dir, b, err := n.text()
	if err == nil && string(b) == n.saved {
		return
	}
	if err == nil {
		err = errors.Join(os.MkdirAll(dir, 0o700), atomicfile.Write(filepath.Join(dir, file), append(b, '\n')))
	}
	if err != nil {
		n.log.Warn("what has been told is not written down, and will be told again after a restart: " + err.Error())
		return
	}
	n.saved = string(b)
}

// text is what there is to keep, and the directory for it.
func (n *Notifier) text() (dir string, b []byte, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := kept{ledger: n.ledger}
	for _, e := range n.outbox.Entries {
		if e.Way != byPing {
			k.Entries = append(k.Entries, e)
		}
	}
	b, err = json.MarshalIndent(k, "", "  ")
	return n.cfg.StateDir, b, err
}
