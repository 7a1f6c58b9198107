// Package docs holds the documentation against the program.
package docs

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/jobs"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Every field of what is printed as JSON is documented.
func TestJSONFieldsAreDocumented(t *testing.T) {
	text := read(t, "docs/output.md")
	for _, v := range []any{jobs.Listing{}, jobs.Record{}, jobs.Status{}, jobs.Plan{}, jobs.Finding{}} {
		for _, field := range fields(reflect.TypeOf(v), map[reflect.Type]bool{}) {
			if !strings.Contains(text, `"`+field+`"`) {
				t.Errorf("%T: field %q is not in docs/output.md", v, field)
			}
		}
	}
}

// fields are the names in JSON of a type and of the types in it, as far as they are of package jobs.
func fields(t reflect.Type, seen map[reflect.Type]bool) []string {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] || !strings.HasSuffix(t.PkgPath(), "/jobs") {
		return nil
	}
	seen[t] = true
	var names []string
	for f := range t.Fields() {
		if !f.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(append(names, name), fields(f.Type, seen)...)
	}
	return names
}

// Every key of the configuration is documented, and every MESSAGE_ID.
func TestKeysAndEventsAreDocumented(t *testing.T) {
	configuration, output := read(t, "docs/configuration.md"), read(t, "docs/output.md")
	keys := regexp.MustCompile(`(?m)^#?(\w+)\s*=`).FindAllStringSubmatch(read(t, "contrib/systemd/btrkeep.toml"), -1)
	if len(keys) < 15 {
		t.Fatalf("the sample configuration has %d keys only", len(keys))
	}
	for _, k := range keys {
		if !strings.Contains(configuration, "`"+k[1]+"`") {
			t.Errorf("key %s is not in docs/configuration.md", k[1])
		}
	}
	ids := regexp.MustCompile(`Event\w+\s*=\s*"(\w{30})(\w\w)"`)
	for _, file := range []string{"jobs/events.go", "daemon/events.go"} {
		for _, id := range ids.FindAllStringSubmatch(read(t, file), -1) {
			if !strings.Contains(output, id[1]) || !strings.Contains(output, id[2]+"`") {
				t.Errorf("%s: MESSAGE_ID %s%s is not in docs/output.md", file, id[1], id[2])
			}
		}
	}
}
