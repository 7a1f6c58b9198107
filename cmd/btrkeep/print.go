package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func (a *app) jsonFlag(c *cobra.Command) {
	c.Flags().BoolVar(&a.json, "json", false, "print JSON")
}

func (a *app) getenv(name string) string { return os.Getenv(name) }

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// aside begins a line of a table that is no row: it stands between the rows and leaves their columns alone.
const aside = "\x00"

// table prints aligned columns; those of a row are separated by tabs.
func (a *app) table(fill func(w io.Writer)) error {
	var text, rows bytes.Buffer
	fill(&text)
	lines := strings.SplitAfter(text.String(), "\n")
	w := tabwriter.NewWriter(&rows, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		if !strings.HasPrefix(line, aside) {
			_, _ = io.WriteString(w, line) // into memory
		}
	}
	_ = w.Flush()
	var out strings.Builder
	for _, line := range lines[:len(lines)-1] { // the last is what follows the last newline
		line, isAside := strings.CutPrefix(line, aside)
		if !isAside {
			line, _ = rows.ReadString('\n')
		}
		out.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	_, err := io.WriteString(a.stdout, out.String())
	return err
}

// formatBytes writes a size in powers of 1024 as the configuration does.
func formatBytes[N int64 | uint64](n N) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1023.95 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}

// formatAge writes how long something is ago, in the two largest units.
func formatAge(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// formatTime writes a time for people; "-" for none.
func formatTime(t time.Time, zone *time.Location) string {
	if t.IsZero() {
		return "-"
	}
	return t.In(zone).Format("2006-01-02 15:04:05")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// isTerminal reports whether w is a terminal: TCGETS, termios(3).
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
