package atomicfile

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	others := []string{".state.json", ".state.json12x", ".state.jsonx", "state.json1", ".other.json12"}
	for _, name := range append(others, ".state.json123456", ".state.json9") { // the last two are what a kill leaves
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"one", "two"} {
		if err := Write(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%q %v", b, err)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := append(others, "state.json")
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("directory has %q, want %q", names, want)
	}
	if err := Clean(filepath.Join(dir, "nowhere", "file")); err != nil {
		t.Error(err)
	}
}
