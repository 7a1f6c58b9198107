// Command testreport sums up what `go test -json` says on its standard input: a line for each package, the output of tests that failed or were
// skipped, and in the end how many top-level tests passed and failed. Lines that are not of that format pass through.
//
// Its exit status is 1 if anything failed, and if a test was skipped: on a machine where everything can run, everything must.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	ok, err := report(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

// event is one of test2json's; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a build, instead of Package
	Test       string
	Output     string
	Elapsed    float64
}

type counts struct{ passed, failed, skipped int }

func report(in io.Reader, out io.Writer) (ok bool, err error) {
	var n counts
	output := map[string]*strings.Builder{} // by package and test, until its end
	failedTests := map[string]bool{}        // packages with at least one failed test
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if len(line) > 0 && (json.Unmarshal(line, &e) != nil || e.Action == "") {
			fmt.Fprint(out, string(line))
		}
		name := e.Package + e.ImportPath + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			if output[name] == nil {
				output[name] = &strings.Builder{}
			}
			output[name].WriteString(e.Output)
		case "build-fail":
			fmt.Fprint(out, text(output[name]))
			delete(output, name)
		case "pass", "fail", "skip":
			n.end(out, e, output[name], failedTests)
			delete(output, name)
		}
		if err == io.EOF {
			break
		} else if err != nil {
			return false, err
		}
	}
	if n.skipped > 0 {
		fmt.Fprintf(out, "%d skipped\n", n.skipped)
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", n.passed, n.failed)
	return n.failed == 0 && n.skipped == 0 && n.passed > 0, nil
}

// end takes in the end of a test or of a package.
func (n *counts) end(out io.Writer, e event, said *strings.Builder, failedTests map[string]bool) {
	top := e.Test != "" && !strings.Contains(e.Test, "/")
	switch {
	case e.Test != "" && e.Action == "skip":
		n.skipped++
		fmt.Fprintf(out, "skipped: %s %s\n%s", e.Package, e.Test, text(said))
	case e.Test != "" && e.Action == "fail":
		failedTests[e.Package] = true
		fmt.Fprintf(out, "failed: %s %s\n%s", e.Package, e.Test, text(said))
	case e.Test == "" && e.Action == "fail":
		fmt.Fprintf(out, "FAIL  %s  %.1f s\n", e.Package, e.Elapsed)
		if !failedTests[e.Package] { // it did not build, it crashed, or it took too long
			fmt.Fprint(out, text(said))
			n.failed++
		}
	case e.Test == "" && e.Action == "pass":
		fmt.Fprintf(out, "ok    %s  %.1f s\n", e.Package, e.Elapsed)
	}
	switch {
	case top && e.Action == "pass":
		n.passed++
	case top && e.Action == "fail":
		n.failed++
	}
}

func text(b *strings.Builder) string {
	if b == nil {
		return ""
	}
	return b.String()
}
