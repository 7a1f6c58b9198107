package atomicfile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	victim := filepath.Join(t.TempDir(), "victim")
	for i, prepare := range []func(temporary string) error{
		func(string) error { return nil },
		func(s string) error {
			return os.WriteFile(s, []byte("what a kill left, longer than the new text"), 0o644)
		},
		func(s string) error { return os.Symlink(victim, s) },
	} {
		if err := prepare(path + Suffix); err != nil {
			t.Fatal(err)
		}
		text := string(rune('a' + i))
		if err := Write(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%q %v", b, err)
		}
		if st, err := os.Lstat(path); err != nil || st.Mode() != 0o600 {
			t.Errorf("%v %v", st.Mode(), err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("directory has %v, %v", entries, err)
		}
	}
	if _, err := os.Lstat(victim); err == nil {
		t.Error("wrote through a symbolic link")
	}
	if err := Write(filepath.Join(dir, "nowhere", "file"), nil); err == nil {
		t.Error("no error for a directory that is missing")
	}
}

func TestWriteFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("text")); err == nil {
		t.Error("replaced a directory")
	}
	if _, err := os.Lstat(path + Suffix); err == nil {
		t.Error("left the new file behind")
	}
}
