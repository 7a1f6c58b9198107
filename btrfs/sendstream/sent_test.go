package sendstream

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// wantSent demands that a stream makes the situation that its case is about: its commands, as they are written on one line each, begin as the
// patterns say, in that order and with others between them. "o…" is a name that the kernel gives for a time. A pattern with "!" is of what the stream has
// nowhere. One that begins with the names of ways to send, and a colon, is for these alone.
//
// The patterns are of what Linux 6.18 sends. An older kernel may send something else, which is no fault of a receiver.
func wantSent(t rapid.TB, patterns []string, how string, stream []byte) {
	t.Helper()
	var lines []string
	each(t, stream, func(c *Command) { lines = append(lines, c.String()) })
	rest := lines
	for _, pattern := range patterns {
		if m := onlyBy.FindStringSubmatch(pattern); m != nil {
			if !slices.Contains(strings.Fields(m[1]), how) {
				continue
			}
			pattern = m[2]
		}
		text, absent := strings.CutPrefix(pattern, "!")
		is := regexp.MustCompile(`^(?:` + strings.ReplaceAll(text, "o…", `o\d+-\d+-\d+`) + `)`)
		if absent {
			if i := slices.IndexFunc(lines, is.MatchString); i >= 0 {
				unlike(t, "%s: there is %s", how, lines[i])
			}
			continue
		}
		i := slices.IndexFunc(rest, is.MatchString)
		if i < 0 {
			unlike(t, "%s: no %s, or not at its place, among\n%s", how, pattern, brief(lines))
			return
		}
		rest = rest[i+1:]
	}
}

var onlyBy = regexp.MustCompile(`^((?:v1|v2|compressed)(?: (?:v1|v2|compressed))*): (.*)$`)

func brief(lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		if len(line) > 300 {
			line = line[:300] + "…"
		}
		if !strings.HasPrefix(line, "utimes ") {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// unlike says that a stream is not what Linux 6.18 sends.
func unlike(t rapid.TB, format string, args ...any) {
	t.Helper()
	if linux(t, 6, 18) {
		t.Errorf(format, args...)
		return
	}
	t.Logf("as older kernels may do: "+format, args...)
}

// linux reports whether the kernel is of that version or later.
func linux(t rapid.TB, major, minor int) bool {
	t.Helper()
	var u unix.Utsname
	ok(t, unix.Uname(&u))
	var is [2]int
	_, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &is[0], &is[1])
	ok(t, err)
	return slices.Compare(is[:], []int{major, minor}) >= 0
}

func TestWantSent(t *testing.T) {
	rename := func(from, to string) handmade { return command(CmdRename, path(from), Text(AttrPathTo, to)) }
	stream := streamOf(t, 2, subvol, mkfile("o257-7-0"), rename("o257-7-0", "a"), rename("a", "b"), end)
	for _, test := range []struct {
		patterns []string
		good     bool
	}{
		{[]string{"mkfile o…", "rename o… path_to=a", "rename a path_to=b", "end$"}, true},
		{[]string{"rename a", "rename o…"}, false},
		{[]string{"rename o…", "rename o…"}, false},
		{[]string{"path_to=b"}, false},
		{[]string{"rename c"}, false},
		{[]string{"!rename c", "rename o…", "!rename b"}, true},
		{[]string{"rename a", "!mkfile"}, false},
		{[]string{"v1 compressed: rename c", "rename o…"}, true},
		{[]string{"v1 v2: rename c"}, false},
		{[]string{"v1: !mkfile"}, true},
		{[]string{"v2: !mkfile"}, false},
	} {
		result := &outcome{TB: t}
		wantSent(result, test.patterns, "v2", stream)
		if failed := !test.good && linux(t, 6, 18); result.failed != failed { // of older kernels nothing is demanded
			t.Errorf("%q: failed %v: %s", test.patterns, result.failed, result.said)
		}
	}
}
