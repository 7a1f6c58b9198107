//go:build long

package systemdlab

import (
	"strings"
	"testing"
)

// probes are run as a hook, which has the sandbox of the daemon. Each line is a name, a colon and a shell command; what must work
// begins with +, what must not with -.
const probes = `+read-home: ls /home
+write-home: touch /home/probe && rm /home/probe
+write-state: touch /var/lib/btrkeep/probe && rm /var/lib/btrkeep/probe
-write-usr: touch /usr/probe
-write-etc: touch /etc/probe
-write-boot: touch /boot/probe
-write-sysctl: echo 1 >/proc/sys/vm/laptop_mode
-mount: mount -t tmpfs none /mnt/late
-hostname: hostname probe
-namespace: unshare --user true
-open-disk: head -c 1 $(findmnt -n -o SOURCE /mnt/src)
-kernel-log: dmesg
-set-clock: date --set=@0
+make-device: mknod /mnt/src/probe b 7 250 && rm /mnt/src/probe
+other-user: runuser -u nobody -- true
+leave: systemd-run --quiet --wait --pipe --collect sh -c "touch /usr/probe && rm /usr/probe"
+mount-unit: systemctl start mnt-late.mount && mountpoint -q /mnt/late && systemctl stop mnt-late.mount && ! mountpoint -q /mnt/late
`

// testSandbox proves the claims of the unit's comments, from inside.
func (l *lab) testSandbox(t *testing.T) {
	l.write(t, "/etc/systemd/system/mnt-late.mount", "[Mount]\nWhat=none\nWhere=/mnt/late\nType=tmpfs\n", 0o644)
	script := "#!/bin/sh\nexec >/mnt/src/probes 2>&1\n"
	for line := range strings.Lines(probes) {
		name, command, _ := strings.Cut(strings.TrimSpace(line), ": ")
		script += "( " + command + " ) >/mnt/src/probe.out 2>&1; echo \"" + name + " $? $(tr '\\n' ' ' </mnt/src/probe.out)\"\n"
	}
	l.write(t, "/usr/local/bin/probe", script, 0o755)
	l.write(t, mainConfig, config("native", `hooks = { before_snapshot = ["/usr/local/bin/probe"] }`+"\n"), 0o644)
	l.run(t, "systemctl daemon-reload")
	l.restart(t)
	l.backUp(t, "home")
	results := l.run(t, "cat /mnt/src/probes")
	if got, want := strings.Count(results, "\n")+1, strings.Count(probes, "\n"); got != want {
		t.Errorf("%d of %d probes ran", got, want)
	}
	for line := range strings.Lines(results) {
		f := strings.Fields(line)
		if worked := f[1] == "0"; worked != strings.HasPrefix(f[0], "+") {
			t.Errorf("inside the sandbox: %s", line)
		}
	}
	l.write(t, mainConfig, config("native", ""), 0o644)
	l.restart(t)
}
