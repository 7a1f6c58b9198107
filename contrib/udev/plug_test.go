// Package udev_test holds what a plugged-in disk starts to what it should do, with programs in the place of systemd's; package systemdlab has it under a real one.
package udev_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const uuid = "01234567-89ab-cdef-0123-456789abcdef"

// fakes are the programs that the script calls. All but those that only look write down how they were called.
var fakes = map[string]string{
	"findmnt": `case "$*" in
		*--fstab*--source\ UUID=` + uuid + `) printf %s "$POINTS" ;;
		*--mountpoint*) echo "${THERE:-` + uuid + `}" ;;
		esac`,
	"mountpoint": `case " $MOUNTED " in *" $2 "*) ;; *) exit 1 ;; esac`,
	"systemctl":  `echo "systemctl $*" >>"$CALLS"; [ "$*" != "$REFUSED" ]`,
	"btrkeep":    `echo "btrkeep $*" >>"$CALLS"; case $3 in /mnt/busy) exit 75 ;; /mnt/bad) exit 1 ;; esac`,
}

func TestPlug(t *testing.T) {
	if _, err := exec.LookPath("systemd-escape"); err != nil {
		if os.Geteuid() == 0 {
			t.Fatalf("%v: `make test` installs it", err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	script, err := os.ReadFile("plug")
	if err != nil {
		t.Fatal(err)
	}
	plug := filepath.Join(dir, "lib/btrkeep/plug")
	files := map[string]string{plug: string(script)}
	for name, text := range fakes {
		files[filepath.Join(dir, "bin", name)] = "#!/bin/sh\n" + text + "\n"
	}
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const start, stop = "systemctl start ", "systemctl stop "
	for _, c := range []struct {
		name   string
		env    string // separated by |
		status int
		calls  []string
		says   string
	}{
		{"mounts and runs", "POINTS=/mnt/usb", 0, []string{start + "mnt-usb.mount", "btrkeep run --below /mnt/usb"}, ""},
		{"unmounts", "POINTS=/mnt/usb|UNMOUNT=yes", 0, []string{start + "mnt-usb.mount", "btrkeep run --below /mnt/usb", stop + "mnt-usb.mount"}, ""},
		{"leaves what was mounted", "POINTS=/mnt/usb|UNMOUNT=yes|MOUNTED=/mnt/usb", 0, []string{"btrkeep run --below /mnt/usb"}, ""},
		{"a space", "POINTS=/mnt/a disk", 0, []string{start + `mnt-a\x20disk.mount`, "btrkeep run --below /mnt/a disk"}, ""},
		{"jobs by name", "POINTS=/mnt/usb|JOBS=home srv", 0, []string{start + "mnt-usb.mount", "btrkeep run home srv"}, ""},
		{"a mount unit", "POINTS=|MOUNT=/mnt/usb", 0, []string{start + "mnt-usb.mount", "btrkeep run --below /mnt/usb"}, ""},
		{"another disk", "MOUNT=/mnt/usb|THERE=99999999|UNMOUNT=yes", 1, []string{start + "mnt-usb.mount", stop + "mnt-usb.mount"}, "at /mnt/usb is 99999999"},
		{"no mount", "POINTS=/mnt/usb|REFUSED=start mnt-usb.mount", 1, []string{start + "mnt-usb.mount"}, ""},
		{"no place", "POINTS=", 1, nil, "/etc/fstab"},
		{"in use afterwards", "POINTS=/mnt/usb|UNMOUNT=yes|REFUSED=stop mnt-usb.mount", 0, []string{start + "mnt-usb.mount", "btrkeep run --below /mnt/usb", stop + "mnt-usb.mount"}, "stays mounted"},
		{"runs already", "POINTS=/mnt/busy|MOUNTED=/mnt/busy", 75, []string{"btrkeep run --below /mnt/busy"}, ""},
		{"two, one busy", "POINTS=/mnt/busy\n/mnt/usb|MOUNTED=/mnt/busy /mnt/usb", 75, []string{"btrkeep run --below /mnt/busy", "btrkeep run --below /mnt/usb"}, ""},
		{"busy and bad", "POINTS=/mnt/busy\n/mnt/bad|MOUNTED=/mnt/busy /mnt/bad", 1, []string{"btrkeep run --below /mnt/busy", "btrkeep run --below /mnt/bad"}, ""},
		{"bad and busy", "POINTS=/mnt/bad\n/mnt/busy|MOUNTED=/mnt/busy /mnt/bad", 1, []string{"btrkeep run --below /mnt/bad", "btrkeep run --below /mnt/busy"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := filepath.Join(t.TempDir(), "calls")
			got, says, status := run(t, calls, strings.Split(c.env, "|"), plug, uuid)
			if status != c.status || !strings.Contains(says, c.says) {
				t.Errorf("exit status %d, want %d: %q", status, c.status, says)
			}
			if diff := cmp.Diff(c.calls, got); diff != "" {
				t.Errorf("should be called (-), was called (+):\n%s", diff)
			}
		})
	}
	for _, bad := range []string{"", "$(reboot)", "a b", "../x"} {
		if got, says, status := run(t, filepath.Join(dir, "calls"), []string{"POINTS=/mnt/usb"}, plug, bad); status != 2 || got != nil {
			t.Errorf("UUID %q: exit status %d, called %q: %s", bad, status, got, says)
		}
	}
}

// run gives what was called, what was said, and the exit status.
func run(t *testing.T, calls string, env []string, argv ...string) ([]string, string, int) {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stderr = append(append(os.Environ(), "CALLS="+calls), env...), &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(calls)
	if err != nil {
		return nil, errs.String(), cmd.ProcessState.ExitCode()
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n"), errs.String(), cmd.ProcessState.ExitCode()
}
