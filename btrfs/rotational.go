package btrfs

import (
	"os"
	"path/filepath"
	"strings"
)

// Rotational reports whether a mounted file system has a device with moving parts, or one of which that is not known: queue/rotational in sysfs, by
// /sys/fs/btrfs/UUID/devices (ABI/stable/sysfs-block in the kernel's documentation).
func Rotational(id UUID) bool {
	devices, err := filepath.Glob("/sys/fs/btrfs/" + id.String() + "/devices/*")
	if err != nil || len(devices) == 0 {
		return true
	}
	for _, d := range devices {
		if spins(d) {
			return true
		}
	}
	return false
}

func spins(device string) bool {
	path, err := filepath.EvalSymlinks(device)
	if err != nil {
		return true
	}
	// A partition has no queue of its own; its disk is one directory up.
	for _, queue := range []string{path, filepath.Dir(path)} {
		if text, err := os.ReadFile(filepath.Join(queue, "queue/rotational")); err == nil {
			return strings.TrimSpace(string(text)) != "0"
		}
	}
	return true
}

// Removable reports whether a mounted file system is on a disk that can be taken out, sticks and cards as the kernel sees them, and all that is on USB.
func Removable(id UUID) bool {
	devices, _ := filepath.Glob("/sys/fs/btrfs/" + id.String() + "/devices/*") // the pattern is none that could be bad
	for _, d := range devices {
		path, err := filepath.EvalSymlinks(d)
		if err != nil {
			continue
		}
		if strings.Contains(path, "/usb") {
			return true
		}
		for _, disk := range []string{path, filepath.Dir(path)} {
			if text, err := os.ReadFile(filepath.Join(disk, "removable")); err == nil && strings.TrimSpace(string(text)) == "1" {
				return true
			}
		}
	}
	return false
}
