package btrfs

// IsMountPoint reports whether a file system is mounted right at path, as /proc/self/mountinfo has it. An automounter that has nothing mounted yet does not count.
func IsMountPoint(path string) (bool, error) {
	all, err := mounts()
	if err != nil {
		return false, err
	}
	for _, m := range all {
		if m.point == path && m.fsType != "autofs" {
			return true, nil
		}
	}
	return false, nil
}
