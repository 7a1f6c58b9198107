package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
)

// statusViews measures what shows how all jobs stand.
func (b *bench) statusViews() {
	volumes, snapshots := 200, 50
	if b.short {
		volumes, snapshots = 4, 3
	}
	title := fmt.Sprintf("jobs: %d, snapshots: %d, backups: as many", volumes, volumes*snapshots)
	if !b.wants("status", title) {
		return
	}
	p := b.newPair("")
	t := b.newBtrkeep(p)
	t.configure(plan{volumes: volumes, keepAll: true})
	b.say("making %d snapshots and backups", volumes*snapshots)
	for i := range volumes {
		t.forge(volume(i+1), snapshots)
	}
	p.settle()
	if out, err := exec.Command(b.btrkeep, "-c", t.config, "status").Output(); err != nil || strings.Count(string(out), "  ok  ") != volumes {
		b.t.Fatalf("not all jobs are well: %v\n%s", err, out)
	}
	r := row{Title: title}
	for _, command := range []string{"status", "list"} {
		argv := []string{b.btrkeep, "-c", t.config, command}
		nothing := func() {}
		r.Results = append(r.Results, alternate(b.t, b.runs, contestant{name: "btrkeep " + command, argv: argv, prepare: nothing, check: nothing})...)
	}
	b.report.Status = append(b.report.Status, r)
	p.close()
}

// forge gives a volume snapshots and backups as runs of btrkeep would have left them, in a hundredth of the time.
func (t *tool) forge(volume string, n int) {
	source, dst := filepath.Join(t.sources, volume), filepath.Join(t.dst.Path, "btrkeep", volume)
	src := filepath.Join(source, ".btrkeep")
	must(t.t, os.MkdirAll(src, 0o700))
	must(t.t, os.MkdirAll(dst, 0o700))
	must(t.t, btrfs.Create(dst, ".blank"))
	first := time.Now().UTC().Add(-time.Duration(n) * time.Hour).Truncate(time.Second)
	var made, brought strings.Builder
	for i := range n {
		taken := first.Add(time.Duration(i) * time.Hour)
		name := taken.Format("20060102T150405Z")
		must(t.t, btrfs.Snapshot(source, src, name, true))
		s, err := btrfs.Info(filepath.Join(src, name))
		must(t.t, err)
		t.note(&made, s, taken)
		copied := filepath.Join(dst, name)
		must(t.t, btrfs.Snapshot(filepath.Join(dst, ".blank"), dst, name, false))
		must(t.t, btrfs.SetReceived(copied, s.UUID, s.Ctransid))
		must(t.t, btrfs.SetReadOnly(copied))
		s, err = btrfs.Info(copied)
		must(t.t, err)
		t.note(&brought, s, taken)
	}
	must(t.t, os.WriteFile(filepath.Join(src, ".btrkeep.catalog"), []byte(made.String()), 0o600))
	must(t.t, os.WriteFile(filepath.Join(dst, ".btrkeep.catalog"), []byte(brought.String()), 0o600))
}

// note writes a subvolume into a catalog.
func (t *tool) note(catalog io.Writer, s btrfs.Subvolume, taken time.Time) {
	must(t.t, json.NewEncoder(catalog).Encode(map[string]any{"uuid": s.UUID, "name": s.Name, "taken": taken}))
}

func printStatus(w io.Writer, rows []row) {
	for _, row := range rows {
		fmt.Fprintf(w, "\nHow all jobs stand. The aim: status takes less than 300 ms.\n\n\twall\tCPU\t\n")
		for _, r := range row.Results {
			fmt.Fprintf(w, "%s: %s\t%s\t%s\t\n", r.Name, row.Title, ms(r.wall()), ms(r.cpu()))
		}
	}
}
