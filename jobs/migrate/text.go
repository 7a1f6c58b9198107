package migrate

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/btrkeep/btrkeep/config"
)

// everything is longer than any disk lives. Where keep is left out, what [defaults] or the job says holds, and [defaults] may be in another file.
const everything = `{ within = "36500d" }`

// Text is the configuration as a TOML file with comments.
func (c *Config) Text() string {
	var b strings.Builder
	comment(&b, c.Head)
	if c.Defaults != nil {
		b.WriteString("\n")
		c.Defaults.write(&b)
	}
	for _, j := range c.Jobs {
		b.WriteString("\n")
		j.write(&b)
	}
	if len(c.Notes) > 0 {
		b.WriteString("\n# " + c.notesHead() + ":\n#\n")
		for _, n := range c.Notes {
			comment(&b, []string{n.String()})
		}
	}
	return b.String()
}

func (c *Config) notesHead() string {
	if c.Notes[0].File == "" {
		return "To be done"
	}
	return "Not translated, or not the same any more"
}

// width is where comments are wrapped. Lines that begin with a blank are left as they are.
const width = 110

func comment(b *strings.Builder, lines []string) {
	for _, l := range lines {
		line, next := "#", "#"
		if first, _, _ := strings.Cut(l, " "); first == "-" || strings.HasSuffix(first, ":") { // an item, or a note
			next = "#  "
		}
		if strings.HasPrefix(l, " ") || l == "" {
			b.WriteString(strings.TrimRight("# "+printable(l), " ") + "\n")
			continue
		}
		for word := range strings.SplitSeq(printable(l), " ") {
			if len(line)+1+len(word) > width && line != "#" && line != next {
				b.WriteString(line + "\n")
				line = next
			}
			line += " " + word
		}
		b.WriteString(line + "\n")
	}
}

// printable is a text that can be in a comment: TOML allows no control characters there, and a newline would end it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}

func (j Job) write(b *strings.Builder) {
	comment(b, j.Comment)
	if j.Off != "" {
		comment(b, []string{"Commented out: " + j.Off})
	}
	t := table{head: "jobs." + j.Name, off: j.Off != ""}
	if j.Name == "" {
		t.head = "defaults"
	}
	t.text("source", j.Source)
	if len(j.Sources) > 0 {
		t.add("sources", list(j.Sources), "")
	}
	t.text("snapshot_dir", j.SnapshotDir)
	t.text("name_format", j.NameFormat)
	t.text("schedule", j.Schedule)
	if j.OnlyIfChanged {
		t.add("only_if_changed", "true", "")
	}
	t.keep(j.Keep, config.Keep{})
	if len(j.Destinations) == 0 && j.Name != "" {
		t.text("destination", "/mnt/backup/"+j.Name)
	}
	t.write(b)
	for _, d := range j.Destinations {
		d.write(b, j)
	}
}

func (d Destination) write(b *strings.Builder, j Job) {
	comment(b, d.Comment)
	if d.Off != "" {
		comment(b, []string{"Commented out: " + d.Off})
	}
	t := table{head: "jobs." + j.Name + ".destinations." + d.Name, off: j.Off != "" || d.Off != ""}
	t.text("url", d.URL)
	t.text("require_mount", d.RequireMount)
	t.text("max_age", d.MaxAge)
	t.keep(d.Keep, j.Keep.Keep)
	t.text("rate_limit", d.RateLimit)
	t.write(b)
}

// table is a table of TOML; commented out if it is off.
type table struct {
	head string
	off  bool
	rows []row
}

// row is a key.
type row struct{ key, value, comment string }

func (t *table) add(key, value, comment string) { t.rows = append(t.rows, row{key, value, comment}) }

func (t *table) text(key, value string) {
	if value != "" {
		t.add(key, quote(value), "")
	}
}

// keep writes retention, but where nothing is said of it, or a destination has that of its job. That everything is kept is said each time: neither [defaults] nor a keep that
// the job is given later may prune it.
func (t *table) keep(k Keep, inherited config.Keep) {
	switch {
	case k.All:
		t.add("keep", everything, "everything, whatever [defaults] says; "+k.Said)
	case !k.IsZero() && k.Keep != inherited:
		t.add("keep", inline(k.Keep), k.Said)
	}
}

func inline(k config.Keep) string {
	var parts []string
	for _, p := range []struct {
		key string
		n   int
	}{{"last", k.Last}, {"hourly", k.Hourly}, {"daily", k.Daily}, {"weekly", k.Weekly}, {"monthly", k.Monthly}, {"yearly", k.Yearly}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%s = %d", p.key, p.n))
		}
	}
	if k.Within > 0 {
		parts = append(parts, fmt.Sprintf("within = %q", k.Within))
	}
	return "{ " + strings.Join(parts, ", ") + " }"
}

func (t *table) write(b *strings.Builder) {
	mark, widest := "", 0
	if t.off {
		mark = "#"
	}
	for _, r := range t.rows {
		widest = max(widest, len(r.key))
	}
	fmt.Fprintf(b, "%s[%s]\n", mark, t.head)
	for _, r := range t.rows {
		fmt.Fprintf(b, "%s%-*s = %s", mark, widest, r.key, r.value)
		if r.comment != "" {
			b.WriteString("   # " + printable(r.comment))
		}
		b.WriteString("\n")
	}
}

func list(texts []string) string {
	quoted := make([]string, len(texts))
	for i, s := range texts {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quote is a basic string of TOML.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
