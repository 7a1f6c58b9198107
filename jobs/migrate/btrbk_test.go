package migrate

import (
	"compress/gzip"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func TestMain(m *testing.M) { testdisk.Main(m) }

var update = flag.Bool("update", false, "write the golden files anew")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// loads makes sure that the text is a configuration without mistakes, and with as many jobs as are not commented out.
func loads(t *testing.T, c *Config) *config.Config {
	t.Helper()
	text := c.Text()
	cfg, err := config.Parse("btrkeep.toml", text, func(string) string { return "" })
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	active := 0
	for _, j := range c.Jobs {
		if j.Off == "" {
			active++
		}
	}
	if len(cfg.Jobs) != active {
		t.Errorf("%d jobs, want %d:\n%s", len(cfg.Jobs), active, text)
	}
	// A job that is commented out is one as soon as the # are taken away.
	if _, err := config.Parse("btrkeep.toml", uncommented(text), func(string) string { return "" }); err != nil && !strings.Contains(err.Error(), "share the snapshot_dir") {
		t.Errorf("with all jobs: %v\n%s", err, uncommented(text))
	}
	return cfg
}

func uncommented(text string) string {
	return regexp.MustCompile(`(?m)^#(\S)`).ReplaceAllString(text, "$1")
}

// The examples here are our own, of what the manual tells: see testdata/*.conf.
func TestBtrbkGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.conf")
	must(t, err)
	if len(files) < 5 {
		t.Fatalf("only %v", files)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			must(t, err)
			c := Btrbk(filepath.Base(file), string(text), Machine{Root: t.TempDir()})
			golden(t, strings.TrimSuffix(filepath.Base(file), ".conf")+".toml", c.Text())
			loads(t, c)
			named(t, string(text), c)
		})
	}
}

// named makes sure that each option is either translated or named with its line.
func named(t *testing.T, text string, c *Config) {
	t.Helper()
	for _, o := range parseBtrbk("x", text).all {
		if _, ok := translated()[o.key]; ok || lost(o.key, o.value) == "" {
			continue
		}
		found := false
		for _, n := range c.Notes {
			found = found || n.Line == o.line && strings.HasPrefix(n.Text, o.key+" ")
		}
		if !found {
			t.Errorf("line %d: %s %s is neither translated nor named", o.line, o.key, o.value)
		}
	}
}

// The example of the package btrbk, and those of its README and manual page, are imported and are configurations without mistakes.
func TestBtrbkPackageExamples(t *testing.T) {
	for name, text := range packageExamples(t) {
		t.Run(name, func(t *testing.T) {
			c := Btrbk("btrbk.conf", text, Machine{Root: t.TempDir()})
			if len(c.Jobs) == 0 {
				t.Errorf("no job in:\n%s", text)
			}
			loads(t, c)
			named(t, text, c)
			t.Log(c.Text())
		})
	}
}

// packageExamples are those of the package btrbk, by name. They are read where it is installed, as their licence is another one.
func packageExamples(t *testing.T) map[string]string {
	t.Helper()
	example, err := os.ReadFile("/etc/btrbk/btrbk.conf.example")
	if err != nil {
		if os.Geteuid() == 0 {
			t.Fatalf("%v: install btrbk", err)
		}
		t.Skip("the package btrbk is not installed")
	}
	examples := map[string]string{"btrbk.conf.example": string(example)}
	readme := unzip(t, "/usr/share/doc/btrbk/README.md.gz")
	// The first lines of what is commented out there as an option, not as a sentence, are options as well.
	examples["btrbk.conf.example, options"] = regexp.MustCompile(`(?m)^#([a-z_]{5,}\s)`).ReplaceAllString(string(example), "$1")
	for name, block := range blocks(readme) {
		examples["README.md: "+name] = block
	}
	if len(examples) < 10 {
		t.Fatalf("only %d examples: are they where they were?", len(examples))
	}
	return examples
}

func unzip(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	b, err := io.ReadAll(z)
	must(t, err)
	return string(b)
}

// blocks are the indented parts of a text that hold a subvolume section, by the heading that they are below.
func blocks(text string) map[string]string {
	found := map[string]string{}
	heading, block := "", ""
	before := ""
	for line := range strings.Lines(text + "\nend\n") {
		switch {
		case strings.HasPrefix(line, "    "), block != "" && strings.TrimSpace(line) == "":
			block += strings.TrimPrefix(line, "    ")
			continue
		case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "==="):
			heading = strings.TrimSpace(before)
		}
		if regexp.MustCompile(`(?m)^\s*subvolume\s`).MatchString(block) {
			name := heading
			for found[name] != "" {
				name += "+"
			}
			found[name] = block
		}
		before, block = line, ""
	}
	return found
}
