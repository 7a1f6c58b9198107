package main

import (
	"fmt"
	"io"
)

// print is a part of the whole report.
func (r *sshReport) print(w io.Writer) {
	const how = "The pipe is btrfs send | ssh 'btrfs receive && sync -f', of a snapshot made beforehand; CPU is that of both ends, sshd's included.\n"
	printSSH(w, r.SSH, "A backup over ssh to this machine, from cold caches until the data is on the disk. "+how+"The aim: it takes at least 0.95 times the wall time of btrkeep.")
	printSSH(w, r.DistantSSH, fmt.Sprintf("The same over a line with a round trip of %v that loses one packet in a hundred.\nThe aim: the pipe takes at least 0.9 times the wall time of btrkeep.", r.RoundTrip))
	if len(r.DistantNoChange) == 0 {
		return
	}
	fmt.Fprintf(w, "\nA run in which no file has changed, over a line with a round trip of %v. The aim: a handful of round trips after ssh's login, which ssh true takes, too.\n\n", r.RoundTrip)
	fmt.Fprintf(w, "\tbtrkeep\tCPU\t%s\tCPU\tthe rest\tin round trips\t\n", namePing)
	for _, row := range r.DistantNoChange {
		run, login := row.Results[0], row.Results[1]
		rest := run.wall() - login.wall()
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%.1f\t\n", row.Title, ms(run.wall()), ms(run.cpu()), ms(login.wall()), ms(login.cpu()), ms(rest), ratio(rest, r.RoundTrip))
	}
}

// printSSH is printPairs, with the pipe's snapshot as a part of what it took.
func printSSH(w io.Writer, rows []row, what string) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n\n\tbtrkeep\tCPU\tMB/s\tpipe\tCPU\tMB/s\twall ×\tCPU ×\twall × with its snapshot\t\n", what)
	for _, row := range rows {
		btrkeep, pipe := row.Results[0], row.Results[1]
		fmt.Fprintf(w, "%s\t", row.Title)
		printPair(w, row, btrkeep, pipe)
		fmt.Fprintf(w, "%.2f\t\n", ratio(pipe.wallWithSnapshot(), btrkeep.wall()))
	}
}
