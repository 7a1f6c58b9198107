package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Load reads the file at path and the *.toml files of the drop-in directory beside it.
// The error is an [Errors] if the files could be read but hold mistakes.
// env gives the values of environment variables (os.Getenv): BTRKEEP_STATE_DIR, STATE_DIRECTORY and so on.
//
// The files are read as one: each key, each key of [defaults] and each job is given in one of them only,
// and [defaults] holds for the jobs of all. Files whose names begin with a dot are left alone.
func Load(path string, env func(string) string) (*Config, error) {
	paths, err := dropIns(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	texts := make([]source, 0, 1+len(paths))
	for _, path := range append([]string{path}, paths...) {
		text, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		texts = append(texts, source{path, text})
	}
	return load(texts, env)
}

// Parse is Load for a text that need not be a file. Mistakes are those of a file called name.
func Parse(name, text string, env func(string) string) (*Config, error) {
	return load([]source{{name, text}}, env)
}

// source is the text of a file.
type source struct{ name, text string }

// dropIns are the files of the drop-in directory, in byte order; none if there is no such directory.
func dropIns(path string) ([]string, error) {
	dir := filepath.Join(filepath.Dir(path), Dir)
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	var paths []string
	for _, entry := range entries {
		// Editors keep their locks and copies under such names.
		if name := entry.Name(); strings.HasSuffix(name, ".toml") && !strings.HasPrefix(name, ".") {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths, err
}

// readFile stops a little above the size that is refused later, with a position.
func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	return string(text), err
}

// loader collects what the files say, and all that is wrong with it.
type loader struct {
	config   *Config
	globals  map[string]node // the keys at the top of the files
	defaults []node          // the tables [defaults] of the files
	jobs     []node          // the tables [jobs]
	errors   Errors
	warnings Errors
	secrets  []string // values that no message may show

	incomplete bool // something was not read, and what seems missing may be there
	tooMany    bool // because there are maxMistakes before it
}

func newLoader() *loader {
	return &loader{config: defaultConfig(), globals: map[string]node{}}
}

// load is Load from the files' texts.
func load(texts []source, env func(string) string) (*Config, error) {
	l := newLoader()
	for _, text := range texts {
		l.config.Files = append(l.config.Files, text.name)
		f, err := parseFile(text.name, text.text)
		if err != nil {
			l.errors = append(l.errors, err)
			l.incomplete = true
			continue
		}
		l.table(f.root, l.global())
	}
	defaults := l.readDefaults()
	jobs := l.readJobs(defaults)
	l.notYet(append(jobs, defaults))
	if !l.incomplete {
		l.checkComplete(jobs)
	}
	l.checkPlaces(jobs)
	l.checkDrills(jobs)
	l.checkSources(append(jobs, defaults))
	l.checkReceived(append(jobs, defaults))
	l.config.Notify = defaults.Notify
	l.warnNotify(defaults, jobs)
	l.environment(env)
	return l.finish(jobs)
}

func (l *loader) readDefaults() *draft {
	d := newDraft()
	seen := map[string]node{}
	for _, n := range l.defaults {
		keys := l.job(d)
		for key, read := range keys {
			keys[key] = l.once(seen, read)
		}
		l.table(n, keys)
	}
	l.checkOneForm(d)
	return d
}

func (l *loader) readJobs(defaults *draft) []*draft {
	var jobs []*draft
	seen := map[string]node{}
	for _, table := range l.jobs {
		for _, n := range l.entries(table) {
			l.fitName(n, "job")
			l.once(seen, func(n node) {
				d := defaults.clone(n)
				d.Name = n.key()
				l.readJob(d, n)
				jobs = append(jobs, d)
			})(n)
		}
	}
	return jobs
}

func (l *loader) readJob(d *draft, n node) {
	own, _ := n.value.(map[string]any)
	_, short := own["destination"]
	_, named := own["destinations"]
	if short || named { // either takes the place of both in [defaults]
		d.targets = nil
		delete(d.set, "destination")
		delete(d.set, "destinations")
	}
	l.table(n, l.job(d))
	if short || named {
		l.checkOneForm(d)
	}
}

// finish gives the configuration or, if there are any, all mistakes in the order of files and lines.
func (l *loader) finish(jobs []*draft) (*Config, error) {
	if len(l.errors) > 0 {
		list := l.sorted(l.errors)
		l.hide(list)
		if l.tooMany {
			list = append(list, &Error{File: list[len(list)-1].File, Msg: "too many mistakes, the rest is not shown", Hint: "is this the configuration of btrkeep?"})
		}
		return nil, list
	}
	c := l.config
	for _, d := range jobs {
		job := d.finish()
		for i := range job.Destinations {
			if r := &job.Destinations[i].RateLimit; len(r.Windows) > 0 {
				r.Zone = c.Timezone
			}
		}
		c.Jobs = append(c.Jobs, job)
	}
	slices.SortFunc(c.Jobs, func(a, b Job) int { return strings.Compare(a.Name, b.Name) })
	for _, w := range l.sorted(l.warnings) {
		c.Warnings = append(c.Warnings, w.Position()+": "+w.Msg)
	}
	return c, nil
}

// secretPart is what of the url of a web service may be one: all behind its host.
var secretPart = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(https?://[^/\s"']*/)([^\s"']+)`) })

// hide makes secrets unreadable in mistakes, wherever a url was put; columns stay.
func (l *loader) hide(list Errors) {
	stars := func(s string) string { return strings.Repeat("*", utf8.RuneCountInString(s)) }
	clean := func(text string) string {
		for _, secret := range l.secrets {
			if secret != "" {
				text = strings.ReplaceAll(text, secret, stars(secret))
			}
		}
		return secretPart().ReplaceAllStringFunc(text, func(url string) string {
			part := secretPart().FindStringSubmatch(url)
			return part[1] + stars(part[2])
		})
	}
	for i, e := range list {
		masked := *e
		masked.Text, masked.Msg = clean(e.Text), clean(e.Msg)
		list[i] = &masked
	}
}

// sorted also drops repetitions: a mistake in [defaults] is found again in every job.
func (l *loader) sorted(list Errors) Errors {
	slices.SortStableFunc(list, func(a, b *Error) int {
		if a.File != b.File {
			return slices.Index(l.config.Files, a.File) - slices.Index(l.config.Files, b.File)
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return slices.CompactFunc(list, func(a, b *Error) bool { return *a == *b })
}
