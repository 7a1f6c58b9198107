package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every name in the Makefile's lists of tests is that of a test: what was renamed would be run where it must not be, or not where it should.
func TestMakefileNamesTests(t *testing.T) {
	files, err := filepath.Glob("../../jobs/*_test.go")
	more, errMore := filepath.Glob("../../jobs/remote/*_test.go")
	if err != nil || errMore != nil {
		t.Fatal(err, errMore)
	}
	var tests []string
	for _, file := range append(files, more...) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range regexp.MustCompile(`(?m)^func Test(\w+)\(t `).FindAllStringSubmatch(string(b), -1) {
			tests = append(tests, f[1])
		}
	}
	lists := regexp.MustCompile(`(?m)^(\w+) *= ([\w.*$()]+\|.*)$`).FindAllStringSubmatch(read(t, "Makefile"), -1)
	if len(lists) != 6 || len(tests) < 100 {
		t.Fatalf("%d lists, %d tests", len(lists), len(tests))
	}
	for _, list := range lists {
		for name := range strings.SplitSeq(list[2], "|") {
			if strings.HasPrefix(name, "$") { // another list
				continue
			}
			whole := regexp.MustCompile("^" + name + "$")
			found := false
			for _, test := range tests {
				found = found || whole.MatchString(test)
			}
			if !found {
				t.Errorf("%s: there is no Test%s", list[1], name)
			}
		}
	}
}
