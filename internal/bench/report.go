package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// report is all that was measured.
type report struct {
	Machine   string `json:"machine"`
	Disks     string `json:"disks"`
	LoadFirst string `json:"load_first"` // averages before and after: what else the machine did
	LoadLast  string `json:"load_last"`
	Runs      int    `json:"runs"`
	NoChange  []row  `json:"no_change"`
	Transfers []row  `json:"transfers"`
	Receives  []row  `json:"receives"`
	Sends     []row  `json:"sends"`
	Diffs     []row  `json:"diffs"`
	Together  []row  `json:"two_receives"`
	Verifies  []row  `json:"verify"`
	Status    []row  `json:"status"`
	sshReport
}

// row is one thing that was measured; btrkeep's result, or that of what it does, is the first.
type row struct {
	Title   string   `json:"title"`
	Bytes   int64    `json:"bytes,omitempty"` // transferred
	Results []result `json:"results"`
}

func (r *report) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s\n%s\nload %s before, %s after; medians of %d alternating runs\n", r.Machine, r.Disks, r.LoadFirst, r.LoadLast, r.Runs)
	if len(r.NoChange) > 0 {
		fmt.Fprintf(w, "\nA run in which no file has changed. CPU is user and system time, children included; programs are those started, itself included.\nThe aim: btrbk takes at least 10 times the wall time and 20 times the CPU of btrkeep.\n\n")
		fmt.Fprintf(w, "\tbtrkeep\tCPU\tprograms\tbtrbk\tCPU\tprograms\twall ×\tCPU ×\t\n")
	}
	for i, row := range r.NoChange {
		printNoChange(w, row.Title, row.Results[0], row.Results[1])
		if plain, found := strings.CutSuffix(row.Title, ifChanged); found && i > 0 && r.NoChange[i-1].Title == plain+always {
			// btrbk is installed to make a snapshot each time.
			printNoChange(w, plain+", btrkeep only if changed, btrbk always", row.Results[0], r.NoChange[i-1].Results[1])
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	printTransfers(w, r.Transfers)
	printPairs(w, r.Receives, "Receiving a stream that is in memory, until the data is on the disk, and without that last sync. The bare calls are the least that a receiver can do: what it makes the kernel do, without a check.\nThe aim: with small files, btrfs receive takes at least 1.8 times the wall time and twice the CPU, but for the sync, which is the same for both; with large ones, as long.")
	printPairs(w, r.Sends, "Sending from cold caches to nobody. MB/s is of the files' data.")
	printPairs(w, r.Diffs, "What has changed between two snapshots, from cold caches: btrkeep diff, and the send without data that it is made of, to nobody.\nThe aim: they take the same time.")
	printPairs(w, r.Together, "Two native receives into one file system, each until its data is on the disk.")
	printPairs(w, r.Verifies, "A backup held against its snapshot: verify --deep, and rsync -nac, which looks neither at xattrs nor at which names are one file. MB/s is of both.\nThe aim: rsync takes at least 0.9 times the wall time of btrkeep.")
	printStatus(w, r.Status)
	r.sshReport.print(w)
	return w.Flush()
}

// printTransfers compares each btrkeep with each pipe.
func printTransfers(w io.Writer, rows []row) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\nA transfer, from cold caches until the data is on the disk. btrkeep is its whole run: start, snapshot, transfer, sync, prune, records.\nThe pipe is btrfs send | btrfs receive; sync -f, of a snapshot made beforehand. The aim: it takes at least as long as btrkeep.\n\n")
	fmt.Fprintf(w, "\tbtrkeep\tCPU\tMB/s\tpipe\tCPU\tMB/s\twall ×\tCPU ×\twall × with its snapshot\t\n")
	for _, row := range rows {
		title := row.Title
		for _, a := range row.Results {
			how, ok := strings.CutPrefix(a.Name, nameBtrkeep)
			if !ok {
				continue
			}
			for _, b := range row.Results {
				if options, ok := strings.CutPrefix(b.Name, namePipe); ok {
					fmt.Fprintf(w, "%s%s%s\t", title, how, options)
					printPair(w, row, a, b)
					fmt.Fprintf(w, "%.2f\t\n", ratio(b.wallWithSnapshot(), a.wall()))
					title = "the same"
				}
			}
		}
	}
}

// printPairs compares the first result of each row with the second, and then with others that the row has.
func printPairs(w io.Writer, rows []row, what string) {
	if len(rows) == 0 {
		return
	}
	a, b := rows[0].Results[0].Name, rows[0].Results[1].Name
	fmt.Fprintf(w, "\n%s\n\n\t%s\tCPU\tMB/s\t%s\tCPU\tMB/s\twall ×\tCPU ×\t\n", what, a, b)
	for _, row := range rows {
		title := row.Title
		for _, other := range row.Results[1:] {
			if other.Name != b {
				title = "the same, " + other.Name
			}
			fmt.Fprintf(w, "%s\t", title)
			printPair(w, row, row.Results[0], other)
			fmt.Fprintf(w, "\n")
		}
	}
}

func printPair(w io.Writer, row row, a, b result) {
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%.2f\t%.2f\t", ms(a.wall()), ms(a.cpu()), rate(row.Bytes, a.wall()), ms(b.wall()), ms(b.cpu()), rate(row.Bytes, b.wall()),
		ratio(b.wall(), a.wall()), ratio(b.cpu(), a.cpu()))
}

func printNoChange(w io.Writer, title string, a, b result) {
	fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%d\t%.1f\t%.1f\t\n", title, ms(a.wall()), ms(a.cpu()), a.Programs, ms(b.wall()), ms(b.cpu()), b.Programs,
		ratio(b.wall(), a.wall()), ratio(b.cpu(), a.cpu()))
}

func ms(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
}

func ratio(a, b time.Duration) float64 { return a.Seconds() / max(b, time.Microsecond).Seconds() }

// rate is in MB/s; "-" where no data goes anywhere.
func rate(bytes int64, d time.Duration) string {
	if bytes == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", float64(bytes)/1e6/d.Seconds())
}

// describe tells what it was measured on.
func (b *bench) describe() {
	var u unix.Utsname
	_ = unix.Uname(&u)
	cpu := "unknown"
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			cpu = strings.TrimSpace(value)
			break
		}
	}
	b.report.Machine = fmt.Sprintf("Linux %s, %d × %s, %s, %s, %s", unix.ByteSliceToString(u.Release[:]), runtime.NumCPU(), cpu,
		version("btrfs", "--version"), version("btrbk", "--version"), version(b.btrkeep, "version"))
	b.report.Disks = "disks: loop devices on files in " + os.TempDir()
	if b.memory {
		b.report.Disks = "disks: loop devices on files in memory"
	}
	b.report.LoadFirst, b.report.Runs = load(), b.runs
}

// version gives the first line of what a program says of itself.
func version(argv ...string) string {
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		return argv[0] + " of unknown version"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// load is that of the last minute.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.log, "bench: "+format+"\n", args...) }
