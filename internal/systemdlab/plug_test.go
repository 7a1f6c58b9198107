//go:build long

package systemdlab

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// testPlug starts what udev starts when a disk is plugged in. There is no udev in a container; that its rule asks for the unit, udevadm says.
func (l *lab) testPlug(t *testing.T) {
	device := l.plug(t, 1<<30)
	uuid := l.run(t, "blkid --output value --match-tag UUID %s", device)
	l.run(t, "mkdir -p '/mnt/a disk' /dev/disk/by-uuid; ln -s %s /dev/disk/by-uuid/%s", device, uuid)
	l.write(t, "/etc/fstab", "UUID="+uuid+" /mnt/a\\040disk btrfs noauto,nofail 0 0\n", 0o644)
	// What systemd makes of that line, but not in a container.
	l.write(t, `/etc/systemd/system/mnt-a\x20disk.mount`, "[Mount]\nWhat=/dev/disk/by-uuid/"+uuid+"\nWhere=/mnt/a disk\nType=btrfs\n", 0o644)
	l.write(t, mainConfig, config("native", `
[jobs.plugged]
source = "/mnt/src/srv"

[jobs.plugged.destinations.usb]
url           = "/mnt/a disk/srv"
require_mount = "/mnt/a disk"
`), 0o644)
	l.run(t, "systemctl daemon-reload")
	l.restart(t)
	unit := "btrkeep-plug@" + uuid + ".service"
	others := func() string { return l.run(t, "btrkeep history home | head -n 3") }
	before := others()
	start := func() (string, bool) {
		t.Helper()
		cursor := l.run(t, "journalctl --lines=0 --show-cursor --no-pager | sed -n 's/^-- cursor: //p'")
		_, _, status := l.try("systemctl start " + unit)
		return l.run(t, "journalctl --sync; journalctl --unit='%s' --after-cursor='%s' --output=cat --no-pager", unit, cursor), status == 0
	}
	mounted := func() bool { _, _, status := l.try("mountpoint -q '/mnt/a disk'"); return status == 0 }

	l.write(t, "/etc/btrkeep/plug.conf", "UNMOUNT=yes\n", 0o644)
	if log, ok := start(); !ok || mounted() {
		t.Fatalf("it went well: %t, still mounted: %t\n%s", ok, mounted(), log)
	}
	l.run(t, "mount '/mnt/a disk'")
	newest := l.run(t, "ls /mnt/src/srv/.btrkeep | tail -n 1")
	l.run(t, "btrfs subvolume show '/mnt/a disk/srv/%s'", newest)
	if log, ok := start(); !ok || !mounted() {
		t.Errorf("what somebody else had mounted: it went well: %t, still mounted: %t\n%s", ok, mounted(), log)
	}
	if after := others(); after != before {
		t.Errorf("a job with no destination on the disk was run:\n%s", after)
	}

	// One that is running already is no failure.
	lock := l.run(t, "ls /run/btrkeep/plugged.lock")
	l.run(t, "systemd-run --quiet --unit=holder flock --exclusive --no-fork %s sleep 1000; sleep 1", lock)
	if log, ok := start(); !ok {
		t.Errorf("while another run holds the lock:\n%s", log)
	}
	l.run(t, "systemctl stop holder.service; umount '/mnt/a disk'")

	// Another file system where the disk should be: nothing is run.
	l.write(t, "/etc/btrkeep/plug-"+uuid+".conf", "MOUNT=/mnt/dst\n", 0o644)
	before = others()
	if log, ok := start(); ok || !strings.Contains(log, "at /mnt/dst is ") {
		t.Errorf("with another file system: it went well: %t\n%s", ok, log)
	}
	if after := others(); after != before {
		t.Errorf("with another file system a job was run:\n%s", after)
	}
	l.run(t, "rm /etc/btrkeep/plug*; rm /etc/fstab; systemctl daemon-reload")
	if log, ok := start(); ok || !strings.Contains(log, "/etc/fstab") {
		t.Errorf("without a mount point: it went well: %t\n%s", ok, log)
	}
	l.run(t, "systemctl reset-failed '%s'", unit)
	l.testUdev(t, device, uuid)
}

// testUdev has the rule, as an administrator would write it, applied to a disk.
func (l *lab) testUdev(t *testing.T, device, uuid string) {
	rule, err := os.ReadFile("../../contrib/udev/90-btrkeep-plug.rules")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(rule), `#ENV{ID_FS_UUID}=="01234567-89ab-cdef-0123-456789abcdef"`, `ENV{ID_FS_UUID}=="`+uuid+`"`, 1)
	l.write(t, "/etc/udev/rules.d/90-btrkeep-plug.rules", text, 0o644)
	version, _, _ := strings.Cut(strings.TrimPrefix(l.run(t, "systemctl --version"), "systemd "), " ")
	if n, err := strconv.Atoi(version); err == nil && n >= 254 {
		l.run(t, "udevadm verify /etc/udev/rules.d/90-btrkeep-plug.rules")
	}
	test := func() string {
		return l.run(t, "udevadm test --action=add /sys/class/block/%s 2>&1", strings.TrimPrefix(device, "/dev/"))
	}
	if out, want := test(), "SYSTEMD_WANTS=btrkeep-plug@"+uuid+".service"; !strings.Contains(out, want) {
		t.Errorf("udev does not say %s:\n%s", want, out)
	}
	l.write(t, "/etc/udev/rules.d/90-btrkeep-plug.rules", string(rule), 0o644)
	if out := test(); strings.Contains(out, "btrkeep-plug@") {
		t.Errorf("the rule as it is shipped starts something:\n%s", out)
	}
	l.run(t, "rm /etc/udev/rules.d/90-btrkeep-plug.rules")
}
