package migrate

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is read of a btrbk.conf is what btrbk itself reads of it: sources, directories and names of snapshots, and targets, with all that sections inherit.
func TestBtrbkReadsTheSame(t *testing.T) {
	if _, err := exec.LookPath("btrbk"); err != nil {
		if os.Geteuid() == 0 {
			t.Fatalf("%v: install btrbk", err)
		}
		t.Skip("btrbk is not installed")
	}
	texts := packageExamples(t)
	files, err := filepath.Glob("testdata/*.conf")
	must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		texts[file] = string(text)
	}
	texts["odd comments and quotes"] = "snapshot_dir /s # c \"\ntarget /t1\nsubvolume '/a b'\nvolume \"/mnt/p q\" # it's\n\ttarget\t\traw   '/r'\n  subvolume .\n  SUBVOLUME @/\n   snapshot_name x'y\n  target send-receive /t1//u/./v/\nsubvolume /elsewhere\n"
	compared := 0
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			text := regexp.MustCompile(`(?m)^\s*noauto.*`).ReplaceAllString(text, "") // which it does not list
			file := filepath.Join(t.TempDir(), "btrbk.conf")
			must(t, os.WriteFile(file, []byte(text), 0o600))
			if regexp.MustCompile(`(?m)^\s*subvolume.*\*`).MatchString(text) {
				return // btrbk looks for what its wildcards match
			}
			out, err := exec.Command("btrbk", "-q", "-c", file, "list", "config", "--format=raw").Output()
			if err != nil {
				t.Logf("not compared, as btrbk refuses it: %v", err)
				return
			}
			compared++
			var want []string
			for line := range strings.Lines(string(out)) {
				set := map[string]string{}
				for _, m := range regexp.MustCompile(`(\w+)='([^=]*)'(?: |$)`).FindAllStringSubmatch(strings.TrimSpace(line), -1) {
					set[m[1]] = strings.ReplaceAll(m[2], `'\''`, "'")
				}
				want = append(want, strings.Join([]string{set["source_url"], set["snapshot_path"], set["snapshot_name"], set["target_type"], set["target_url"]}, " | "))
			}
			if diff := cmp.Diff(sorted(want), sorted(understood(text))); diff != "" {
				t.Errorf("(-btrbk +btrkeep):\n%s", diff)
			}
		})
	}
	if compared < 8 {
		t.Errorf("btrbk took only %d of %d", compared, len(texts))
	}
}

func sorted(lines []string) []string { return slices.Sorted(slices.Values(lines)) }

// understood is what btrbk.conf says, in the order of `btrbk list config`.
func understood(text string) (lines []string) {
	b := parseBtrbk("btrbk.conf", text)
	x := &btrbkTranslation{btrbk: b}
	url := func(p place) string {
		switch {
		case p.host == "":
			return p.path
		case p.port == "":
			return "ssh://" + p.host + p.path
		}
		return "ssh://" + p.host + ":" + p.port + p.path
	}
	for _, volume := range b.root.inner {
		for _, s := range volume.inner {
			v := x.volume(s)
			first := []string{url(v.at), x.snapshotDir(v).path, v.name}
			for _, target := range v.targets {
				kind := "send-receive"
				if target.raw {
					kind = "raw"
				}
				lines = append(lines, strings.Join(append(first, kind, url(target.place)), " | "))
			}
			if len(v.targets) == 0 {
				lines = append(lines, strings.Join(append(first, "", ""), " | "))
			}
		}
	}
	return lines
}
