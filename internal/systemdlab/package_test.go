//go:build long

package systemdlab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// packages makes the packages of two versions.
func packages(t *testing.T, format string) (two [2]string) {
	t.Helper()
	return [2]string{makePackage(t, format, "1.0"), makePackage(t, format, "1.1")}
}

func makePackage(t *testing.T, format, version string) string {
	t.Helper()
	build := exec.Command("../../tools/package.sh", format)
	build.Env = append(os.Environ(), "VERSION="+version, "DIST="+t.TempDir())
	out, err := build.Output()
	if err != nil {
		t.Fatalf("tools/package.sh: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// plugDisks mounts two disks, with a source.
func (l *lab) plugDisks(t *testing.T) {
	t.Helper()
	for _, point := range []string{"/mnt/src", "/mnt/dst"} {
		l.run(t, "mount -t btrfs %s %s", l.plug(t, 4<<30), point)
	}
	l.run(t, "btrfs subvolume create /mnt/src/home")
	testdisk.Tree(t, l.path("/mnt/src/home"), testdisk.Spec{Seed: 1, Files: 300})
}

// dpkg installs one of the two packages, as nobody sits there to answer questions.
func (l *lab) dpkg(t *testing.T, which int) {
	t.Helper()
	path := "/root/" + filepath.Base(l.debs[which])
	l.install(t, l.debs[which], path, 0o644)
	l.run(t, "dpkg --install %s </dev/null", path)
}

// testInstalled installs the package: nothing is enabled, and with the configuration that it brings the daemon waits for jobs.
func (l *lab) testInstalled(t *testing.T) {
	l.dpkg(t, 0)
	if out, _, _ := l.try("systemctl is-enabled btrkeep.service; systemctl is-active btrkeep.service"); out != "disabled\ninactive" {
		t.Errorf("is-enabled, is-active: %q", out)
	}
	if out := l.run(t, "btrkeep version; stat --format=%%a%%U /etc/btrkeep/btrkeep.toml"); out != "btrkeep 1.0\n600root" {
		t.Errorf("version, and mode of the configuration: %q", out)
	}
	l.run(t, "btrkeep check; systemctl start btrkeep.service; systemctl is-active btrkeep.service; btrkeep status")
	if out := l.run(t, "btrfs subvolume list -r /mnt/src"); out != "" {
		t.Errorf("without a job there are snapshots: %s", out)
	}
	l.run(t, "systemctl stop btrkeep.service")
	l.write(t, mainConfig, config("btrfs-progs", ""), 0o600)
}

// kept is what must not change whatever becomes of the package: snapshots and backups by UUID, and the files of the administrator.
func (l *lab) kept(t *testing.T) string {
	t.Helper()
	return l.run(t, "btrfs subvolume list -ru /mnt/src; btrfs subvolume list -Ru /mnt/dst; cat /etc/btrkeep/conf.d/*; cat /mnt/dst/home/.btrkeep.catalog")
}

// testUpgrade upgrades in the middle of a transfer, which goes on under the new version where it was; a service that does not run is not started.
func (l *lab) testUpgrade(t *testing.T) {
	l.write(t, "/etc/btrkeep/conf.d/own.toml", "[defaults]\ntimeout = \"1h\"\n", 0o644)
	l.run(t, "systemctl enable btrkeep.service")
	done := l.underWay(t, "grown")
	pid, before := l.show(t, "MainPID"), l.run(t, "cat %s", mainConfig)
	l.dpkg(t, 1)
	if r, ok := <-done; ok && r.Result == "ok" {
		t.Fatalf("the transfer was done before the upgrade: %+v", r)
	}
	if now := l.show(t, "MainPID"); now == pid || l.show(t, "ActiveState") != "active" {
		t.Errorf("after the upgrade the main process is %s, it was %s; state %s", now, pid, l.show(t, "ActiveState"))
	}
	if out := l.run(t, "btrkeep version; systemctl is-enabled btrkeep.service"); out != "btrkeep 1.1\nenabled" {
		t.Errorf("after the upgrade: %q", out)
	}
	if after := l.run(t, "cat %s", mainConfig); after != before {
		t.Errorf("the configuration was changed:\n%s", after)
	}
	r := l.backUp(t, "grown")
	if r.Transfers[0].Resumed == 0 {
		t.Errorf("the transfer began anew: %+v", r)
	}
	l.same(t, r, "/mnt/src/grown/.btrkeep", "/mnt/dst/grown")

	l.run(t, "systemctl stop btrkeep.service")
	l.dpkg(t, 1)
	if state := l.show(t, "ActiveState"); state != "inactive" {
		t.Errorf("a stopped service is %s after an upgrade", state)
	}
	l.restart(t)
}

// testRemove removes the package and installs it again: everything goes on as it was.
func (l *lab) testRemove(t *testing.T) {
	last := l.backUp(t, "home")
	before := l.kept(t) + l.run(t, "cat %s; find /var/lib/btrkeep -type f | sort", mainConfig)
	l.run(t, "dpkg --remove btrkeep")
	if out, _, _ := l.try("systemctl is-active btrkeep.service; ls /usr/bin/btrkeep /usr/lib/systemd/system/btrkeep*"); out == "active" || strings.Contains(out, "/usr") {
		t.Errorf("left of the service: %q", out)
	}
	if after := l.kept(t) + l.run(t, "cat %s; find /var/lib/btrkeep -type f | sort", mainConfig); after != before {
		t.Errorf("before the removal:\n%s\nand after:\n%s", before, after)
	}
	l.dpkg(t, 1)
	if out := l.run(t, "systemctl is-enabled btrkeep.service"); out != "enabled" {
		t.Errorf("it was enabled before the removal, and is %s after the next installation", out)
	}
	l.restart(t)
	l.run(t, "date >/mnt/src/home/removed")
	if r := l.backUp(t, "home"); r.last().Parent != last.Snapshot {
		t.Errorf("after the next installation the parent is %q, not %s", r.last().Parent, last.Snapshot)
	}
}

// testPurge purges the package: of btrkeep's own files none is left, and everything else is.
func (l *lab) testPurge(t *testing.T) {
	last := l.backUp(t, "home")
	// With nothing to do, the state is not made durable, and is in a file of its own.
	l.run(t, "btrkeep prune home; btrkeep pause home; ls /var/lib/btrkeep/jobs/*.json.recent /var/lib/btrkeep/jobs/*.paused /var/lib/btrkeep/jobs/*.paused.lock")
	l.write(t, "/var/lib/btrkeep/mine/note.json", "{}", 0o600)
	before := l.kept(t)
	l.run(t, "dpkg --purge btrkeep")
	if after := l.kept(t); after != before {
		t.Errorf("before the purge:\n%s\nand after:\n%s", before, after)
	}
	if left := l.run(t, "find /etc /usr /var /run -xdev -name '*btrkeep*' -print; find /etc/btrkeep /var/lib/btrkeep -type f"); left !=
		"/etc/btrkeep\n/var/lib/btrkeep\n/etc/btrkeep/conf.d/own.toml\n/var/lib/btrkeep/mine/note.json" {
		t.Errorf("left after the purge:\n%s", left)
	}
	if out, _, _ := l.try("systemctl list-units --all --no-legend 'btrkeep*'"); strings.Contains(out, "running") {
		t.Errorf("units after the purge: %s", out)
	}
	l.same(t, last, "/mnt/src/home/.btrkeep", "/mnt/dst/home")
}

// testRPM installs the RPM package in the place of the other one, upgrades and erases it. That Debian is not what it is made for matters little: what it needs is there, if not for rpm(8).
func (l *lab) testRPM(t *testing.T) {
	rpm := func(do string, which int) {
		t.Helper()
		path := "/root/" + filepath.Base(l.rpms[which])
		l.install(t, l.rpms[which], path, 0o644)
		l.run(t, "rpm --%s --nodeps %s", do, path)
	}
	l.run(t, "rm -rf /etc/btrkeep /var/lib/btrkeep")
	rpm("install", 0)
	if out, _, _ := l.try("btrkeep version; systemctl is-enabled btrkeep.service; systemctl is-active btrkeep.service; rpm --verify btrkeep"); out != "btrkeep 1.0\ndisabled\ninactive" {
		t.Errorf("version, is-enabled, is-active, and what differs from the package: %q", out)
	}
	l.write(t, mainConfig, config("native", ""), 0o600)
	l.run(t, "systemctl enable --now btrkeep.service")
	last := l.backUp(t, "home")
	pid, written := l.show(t, "MainPID"), l.run(t, "cat %s", mainConfig)
	rpm("upgrade", 1)
	if out := l.run(t, "btrkeep version; systemctl is-enabled btrkeep.service; systemctl is-active btrkeep.service"); out != "btrkeep 1.1\nenabled\nactive" || l.show(t, "MainPID") == pid {
		t.Errorf("version, is-enabled, is-active after the upgrade: %q, of the same process: %t", out, l.show(t, "MainPID") == pid)
	}
	if now := l.run(t, "cat %s", mainConfig); now != written {
		t.Errorf("the configuration was changed:\n%s", now)
	}
	kept := l.run(t, "find /var/lib/btrkeep -type f | sort; btrfs subvolume list -ru /mnt/src; btrfs subvolume list -Ru /mnt/dst")
	l.run(t, "rpm --erase btrkeep")
	if left := l.run(t, "find /etc /usr -xdev -name '*btrkeep*'"); left != "/etc/btrkeep\n/etc/btrkeep/btrkeep.toml.rpmsave" {
		t.Errorf("left of the package:\n%s", left)
	}
	if out, _, _ := l.try("systemctl is-active btrkeep.service; pidof btrkeep; cat " + mainConfig + ".rpmsave"); !strings.HasPrefix(out, "inactive\n"+written) {
		t.Errorf("is-active, processes, the configuration: %q", out)
	}
	if after := l.run(t, "find /var/lib/btrkeep -type f | sort; btrfs subvolume list -ru /mnt/src; btrfs subvolume list -Ru /mnt/dst"); after != kept {
		t.Errorf("state, snapshots and backups were\n%s\nand are\n%s", kept, after)
	}
	l.same(t, last, "/mnt/src/home/.btrkeep", "/mnt/dst/home")
}
