package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/internal/netfault"
)

// namePing is the contestant that only logs in.
const namePing = "ssh true"

// sshReport is what was measured over ssh.
type sshReport struct {
	SSH             []row         `json:"ssh"`
	DistantSSH      []row         `json:"distant_ssh"`
	DistantNoChange []row         `json:"distant_no_change"`
	RoundTrip       time.Duration `json:"round_trip_ns"`
}

// overSSH measures backups to another machine: by the loopback device, and by a long, bad line.
func (b *bench) overSSH() {
	b.report.RoundTrip = 200 * time.Millisecond
	if b.short {
		b.report.RoundTrip = 20 * time.Millisecond
	}
	all := b.workloads()
	large, small := all[0], all[1]
	compressible := large
	compressible.compressible = true
	compressible.title += ", compressible"
	for _, w := range []workload{large, compressible, small} {
		if b.wants("ssh", w.title) {
			b.report.SSH = append(b.report.SSH, b.sshTransfer(w, nil))
		}
	}
	for _, o := range b.badLines() {
		if w := b.distant(o.Congestion); b.wants("distant ssh", w.title) {
			b.report.DistantSSH = append(b.report.DistantSSH, b.sshTransfer(w, netfault.New(b.t, o)))
		}
	}
	for _, how := range []string{always, ifChanged} {
		if title := "subvolumes: 1" + how; b.wants("distant no change", title) {
			b.report.DistantNoChange = append(b.report.DistantNoChange, b.sshNoChange(title, how == ifChanged))
		}
	}
}

// badLines lose one packet in a hundred. What that does to a transfer is TCP's: its default here, and the one that takes loss worst.
func (b *bench) badLines() []netfault.Options {
	text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	must(b.t, err)
	o := netfault.Options{Delay: b.report.RoundTrip / 2, Loss: 0.01, Seed: 1, Congestion: strings.TrimSpace(string(text))}
	lines := []netfault.Options{o}
	if o.Congestion != "reno" {
		o.Congestion = "reno"
		lines = append(lines, o)
	}
	return lines
}

// distant takes a minute or so: what makes of each loss a reason to halve the pace gets 100 kB/s over that line, and bbr some MB/s.
func (b *bench) distant(congestion string) workload {
	d := data{files: 1, size: 8 << 20}
	switch {
	case b.short:
		d.size = 1 << 20
	case congestion == "bbr":
		d.size = 256 << 20
	}
	return workload{title: fmt.Sprintf("%d MiB, TCP with %s", d.size>>20, congestion), data: d}
}

// sshTransfer measures whole transfers, each from cold caches until the data is on the other machine's disk.
func (b *bench) sshTransfer(w workload, link *netfault.Link) row {
	c, f := b.newCourse(w), b.newFar(link)
	defer c.close()
	return row{Title: w.title, Bytes: w.bytes(), Results: f.alternate(b.runs, c.sshBackup(b.btrkeep, f), c.sshPipe(f))}
}

// sshBackup is a run without a configuration, and with snapshots where it puts them: inside the source.
func (c *course) sshBackup(program string, f *far) contestant {
	snapshots := filepath.Join(c.source, ".btrkeep")
	return contestant{
		name: nameBtrkeep, argv: []string{program, "backup", c.source, f.URL(c.backups)},
		prepare: func() {
			must(c.t, os.RemoveAll(f.file("near-state")))
			c.deleteAll(snapshots)
			c.clear()
		},
		check: c.checkWith(snapshots),
	}
}

// sshPipe is what a careful person types.
func (c *course) sshPipe(f *far) contestant {
	const script = `set -eo pipefail; btrfs send -q "$1" | "${@:2}"`
	receive := fmt.Sprintf("btrfs receive -q '%[1]s' && sync -f '%[1]s'", c.backups)
	return contestant{
		name: namePipe, prepare: c.clear, check: c.checkWith(c.snapshots),
		argv:     append([]string{"bash", "-c", script, "bash", c.snapshots + "/snapshot"}, f.Command(receive)...),
		snapshot: []string{"btrfs", "subvolume", "snapshot", "-r", c.source, c.snapshots + "/snapshot"},
	}
}

// checkWith is check against the snapshot: the source has snapshots in it that no backup has.
func (c *course) checkWith(snapshots string) func() {
	compared := false
	return func() {
		name := c.only(c.backups)
		if !compared {
			compared = true
			c.compare(filepath.Join(snapshots, c.only(snapshots)), filepath.Join(c.backups, name))
		}
	}
}

// sshNoChange measures runs in which no file has changed, beside a login alone, over a line that is long and good.
func (b *bench) sshNoChange(title string, onlyIfChanged bool) row {
	c := b.newCourse(workload{data: data{files: 50, size: 2000}})
	defer c.close()
	f := b.newFar(netfault.New(b.t, netfault.Options{Delay: b.report.RoundTrip / 2}))
	config := filepath.Join(c.dir, "btrkeep.toml")
	must(b.t, os.WriteFile(config, fmt.Appendf([]byte(c.globals()),
		"[jobs.data]\nsource = %q\nsnapshot_dir = %q\ndestination = %q\nschedule = \"@hourly\"\nonly_if_changed = %t\nkeep = { last = 1 }\n",
		c.source, c.snapshots, f.URL(c.backups), onlyIfChanged), 0o600))
	var before []string
	run := contestant{
		name: nameBtrkeep, argv: []string{b.btrkeep, "-c", config, "run"},
		prepare: func() {
			before = c.subvolumes(c.backups)
			c.settle()
		},
		check: func() {
			if after := c.only(c.backups); len(before) > 0 && (after == before[0]) != onlyIfChanged {
				b.t.Fatalf("after %s comes %s in a run in which nothing has changed", before[0], after)
			}
		},
	}
	ping := contestant{name: namePing, argv: f.Command("true"), prepare: c.settle, check: func() {}}
	f.alternate(2, run) // until each run is like the last
	return row{Title: title, Results: f.alternate(b.runs, run, ping)}
}
