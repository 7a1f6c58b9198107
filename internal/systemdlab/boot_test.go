//go:build long

package systemdlab

import "testing"

func TestBoot(t *testing.T) {
	for _, s := range suites() {
		c := boot(t, s)
		d := c.plug(t, 1<<30)
		t.Log(c.run(t, "mount -t btrfs %s /mnt/src; systemctl --version | head -1; systemctl is-system-running; systemctl --failed; findmnt -o TARGET,SOURCE,FSTYPE,PROPAGATION; command -v openssl findmnt runuser dmesg ls; df -h /", d))
	}
}
