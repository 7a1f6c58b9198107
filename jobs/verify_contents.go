package jobs

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
)

// maxDifferences is how many differences of one backup are told one by one.
const maxDifferences = 100

// pass is the contents of one destination's backups under way.
type pass struct {
	*verification
	p    *verifiedPlace
	kind *VerifyKind
	todo []Backup // that can be compared, newest first
}

// contents compares what is in the backups, until the time is over: one pass over all of them may take many verifies.
func (v *verification) contents(ctx context.Context, p *verifiedPlace, budget time.Duration) error {
	n := &pass{verification: v, p: p, kind: v.state.kind(p.cfg, v.o.parts())}
	references := map[btrfs.UUID]reference{}
	for _, b := range slices.Backward(p.backups) {
		if !b.Own && !b.Complete {
			continue
		}
		if r, ok := v.reference(p, b); ok && b.ReadOnly { // else it does not stand still
			references[b.UUID] = r
			n.todo = append(n.todo, b)
		} else {
			p.out.StructureOnly = append(p.out.StructureOnly, b.Name)
		}
	}
	n.begin()
	limited := ctx
	if budget > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, budget)
		defer cancel()
	}
	for first := true; ; first = false {
		b, ok := n.next()
		if !ok {
			n.end()
			break
		}
		if !first && limited.Err() != nil {
			break
		}
		if !first { // whatever befalls this one, what is done is done
			if err := v.state.save(v.Config.StateDir); err != nil {
				return err
			}
		}
		if err := n.compare(limited, b, references[b.UUID]); err != nil {
			return fmt.Errorf("compare %s with %s: %w", b.Name, references[b.UUID], err)
		}
	}
	n.tell()
	return nil
}

// begin goes on with the pass that was cut, or begins one over what is there now.
func (n *pass) begin() {
	k := n.kind
	if k.Pass != nil {
		// Of what is gone or cannot be compared any more, nothing more is to be done, nor to be told.
		k.Pass.Findings = slices.DeleteFunc(k.Pass.Findings, func(f VerifyFinding) bool {
			return !slices.ContainsFunc(n.p.backups, func(b Backup) bool { return b.Name == f.Backup })
		})
		for i, f := range k.Pass.Findings {
			if path, err := base64.StdEncoding.DecodeString(f.PathBase64); err == nil && len(path) > 0 { // JSON does not keep any bytes
				k.Pass.Findings[i].Path = string(path)
			}
		}
		return
	}
	k.Serial++
	k.Pass = &VerifyPass{Started: n.o.Clock.Wall}
	for _, b := range n.todo {
		k.Pass.Upto = max(k.Pass.Upto, b.Otransid)
	}
}

// next chooses the backup to go on with: that in which the last verify was cut; else in turns the newest, and of the others those never compared and then that whose turn is the longest ago. So a
// backup that is made every day does not keep the old ones from their turn.
func (n *pass) next() (Backup, bool) {
	k := n.kind
	if k.Pass.Cut != nil {
		if i := n.index(k.Pass.Cut.Backup); i >= 0 {
			return n.todo[i], true
		}
		k.Pass.Cut = nil
	}
	left := n.left()
	if len(left) == 0 {
		return Backup{}, false
	}
	if newest := n.todo[0]; !k.Pass.Turned && k.Verified[newest.UUID].Pass != k.Serial {
		return newest, true
	}
	slices.SortStableFunc(left, func(a, b Backup) int { return k.Verified[a.UUID].Time.Compare(k.Verified[b.UUID].Time) })
	return left[0], true
}

// left are the backups of the pass that are still to be compared. What was made since it began is for the next one, so that it ends.
func (n *pass) left() []Backup {
	var left []Backup
	for _, b := range n.todo {
		if b.Otransid <= n.kind.Pass.Upto && n.kind.Verified[b.UUID].Pass != n.kind.Serial {
			left = append(left, b)
		}
	}
	return left
}

func (n *pass) index(id btrfs.UUID) int {
	return slices.IndexFunc(n.todo, func(b Backup) bool { return b.UUID == id })
}

// compare goes on with one backup.
func (n *pass) compare(ctx context.Context, b Backup, with reference) error {
	k := n.kind
	release, err := btrfs.Hold(b.Path, b.UUID)
	if err == nil {
		defer release()
		err = n.held(ctx, b, with)
	}
	if isGone(err) { // it was pruned since it was listed, or what it was to be compared with was
		n.todo = slices.Delete(n.todo, n.index(b.UUID), n.index(b.UUID)+1)
		k.Pass.Cut = nil
		return nil
	}
	return err
}

func (n *pass) held(ctx context.Context, b Backup, with reference) error {
	k, started := n.kind, time.Now()
	o := comparison{part: k.Part, parts: k.Parts, priority: n.job.IOClass.Class<<13 | n.job.IOClass.Level}
	o.progress = func(bytes int64) {
		n.progress(Progress{Step: "verify", Destination: n.p.cfg.Name, Snapshot: b.Name, Bytes: bytes, Started: started})
	}
	o.progress(0)
	if cut := k.Pass.Cut; cut != nil && cut.Against == with.String() {
		o.after = cut.After
	}
	beside := ""
	if with.String() != (tree{what: "its snapshot"}).String() {
		beside = " (compared with " + with.String() + ")"
	}
	count := 0
	r, err := with.compare(ctx, b, o, func(path, what string) {
		if count++; count <= maxDifferences {
			k.Pass.Findings = append(k.Pass.Findings, n.p.finding(b.Name, path, what+beside))
		}
	})
	if err != nil {
		return err
	}
	if count > maxDifferences {
		k.Pass.Findings = append(k.Pass.Findings, n.p.finding(b.Name, "", fmt.Sprintf("%d more differences%s", count-maxDifferences, beside)))
	}
	out := &n.p.out
	out.Entries, out.Files, out.Bytes = out.Entries+r.entries, out.Files+r.files, out.Bytes+r.bytes
	if !r.complete {
		k.Pass.Cut = &VerifyCut{Backup: b.UUID, Name: b.Name, Against: with.String(), After: r.after, Path: strings.ToValidUTF8(r.path, "�")}
		return nil
	}
	k.Pass.Cut, k.Pass.Turned = nil, b.UUID == n.todo[0].UUID
	if k.Verified == nil {
		k.Verified = map[btrfs.UUID]VerifiedBackup{}
	}
	k.Verified[b.UUID] = VerifiedBackup{Time: n.o.Clock.Wall, Pass: k.Serial}
	out.Compared = append(out.Compared, b.Name)
	return nil
}

// tell puts into the report how the pass stands.
func (n *pass) tell() {
	k, out := n.kind, &n.p.out
	out.Part, out.Parts, out.Begun, out.Remaining = k.Part+1, k.Parts, k.Pass.Started, len(n.left())
	if k.Parts == 0 {
		out.Part = 0
	}
	if cut := k.Pass.Cut; cut != nil {
		out.Cut = &VerifyPlace{Backup: cut.Name, Path: cut.Path}
	}
	// Where there is something to compare with, it tells more than the tree.
	out.Findings = slices.DeleteFunc(out.Findings, func(f VerifyFinding) bool {
		return (f.What == addedLater || f.What == changedLater || f.What == changedLaterDir) &&
			slices.ContainsFunc(k.Pass.Findings, func(g VerifyFinding) bool { return g.Backup == f.Backup && g.Path == f.Path })
	})
	out.Findings = append(out.Findings, k.Pass.Findings...)
	if k.Parts == 1 {
		for _, name := range out.Compared {
			if !slices.ContainsFunc(out.Findings, func(f VerifyFinding) bool { return f.Backup == name }) {
				out.sound = append(out.sound, name)
			}
		}
	}
	if out.Remaining == 0 && k.Pass.Cut == nil {
		n.close()
	}
}

// end forgets backups that are gone: the pass has come to its end.
func (n *pass) end() {
	for id := range n.kind.Verified {
		if !slices.ContainsFunc(n.p.backups, func(b Backup) bool { return b.UUID == id }) {
			delete(n.kind.Verified, id)
		}
	}
}

// close makes the next pass one over the next part.
func (n *pass) close() {
	n.kind.Pass = nil
	if n.kind.Parts > 0 {
		n.kind.Part = (n.kind.Part + 1) % n.kind.Parts
	}
}
