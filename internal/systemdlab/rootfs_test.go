//go:build long

package systemdlab

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// recipe is everything that decides what is in a root file system; a change of it makes a new one.
var recipe = []string{
	"--mode=root",
	"--variant=minbase",
	"--include=systemd,systemd-sysv,dbus,udev,btrfs-progs,rpm",
	`--aptopt=Acquire::Languages "none"`,
	`--aptopt=APT::Install-Recommends "false"`,
	"--dpkgopt=path-exclude=/usr/share/doc/*",
	"--dpkgopt=path-exclude=/usr/share/man/*",
	"--dpkgopt=path-exclude=/usr/share/locale/*",
	// Nobody sits at its console, and the first-boot questions have no answer.
	`--customize-hook=for unit in console-getty.service getty@tty1.service systemd-firstboot.service systemd-networkd.service
	 do ln -sf /dev/null "$1/etc/systemd/system/$unit"; done`,
	`--customize-hook=mkdir -p "$1/mnt/src" "$1/mnt/dst" "$1/mnt/late"; tr -d - </proc/sys/kernel/random/uuid >"$1/etc/machine-id"`,
}

// rootfs gives the directory of a Debian root file system, made by mmdebstrap if it is not in the cache. It is never written to.
func rootfs(t *testing.T, suite string) string {
	t.Helper()
	cache := filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), "/var/cache"), "btrkeep-test")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}

	sum := sha256.Sum256([]byte(strings.Join(recipe, "\n")))
	dir := filepath.Join(cache, fmt.Sprintf("%s-%x", suite, sum[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	unfinished := dir + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--quiet", "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg"}, recipe...)
	args = append(args, suite, unfinished, mirror(t))
	t.Logf("making %s, once", dir)
	if out, err := exec.Command("mmdebstrap", args...).CombinedOutput(); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, out)
	}
	if err := os.Rename(unfinished, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// mirror is the first archive in the machine's own apt sources, whichever of apt's two formats they are in.
func mirror(t *testing.T) string {
	t.Helper()
	lists, _ := filepath.Glob("/etc/apt/sources.list.d/*.sources")
	for _, list := range append([]string{"/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"}, lists...) {
		text, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(text) {
			words := strings.Fields(string(line))
			if len(words) < 2 || words[0] != "URIs:" && words[0] != "deb" {
				continue
			}
			for _, word := range words[1:] {
				if strings.Contains(word, "://") {
					return word
				}
			}
		}
	}
	t.Fatal("no Debian archive in /etc/apt/sources.list or /etc/apt/sources.list.d")
	return ""
}
