package btrfs

import "slices"

// IsMountPoint reports whether a file system is mounted right at path, as /proc/self/mountinfo has it. An automounter that has nothing mounted yet does not count.
func IsMountPoint(path string) (bool, error) {
	all, err := mounts()
	return isMountPoint(all, path), err
}

func isMountPoint(all []mount, path string) bool {
	return slices.ContainsFunc(all, func(m mount) bool { return m.point == path && m.fsType != "autofs" })
}
