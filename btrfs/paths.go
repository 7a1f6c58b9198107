package btrfs

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Paths gives where on its file system each of the subvolumes that [List] listed lies, from the top level: "/@home/ann/music". One whose directory is gone meanwhile is left out.
// BTRFS_IOC_INO_LOOKUP for each; needs CAP_SYS_ADMIN.
func Paths(path string, all []Subvolume) (map[uint64]string, error) {
	fd, _, err := openDir(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	byID := make(map[uint64]Subvolume, len(all))
	for _, s := range all {
		byID[s.ID] = s
	}
	paths := map[uint64]string{topLevelID: ""}
	var find func(id uint64) (string, error)
	find = func(id uint64) (string, error) {
		if p, ok := paths[id]; ok {
			return p, nil
		}
		s, ok := byID[id]
		if !ok {
			return "", fmt.Errorf("subvolume %d is not listed", id)
		}
		above, err := find(s.ParentID)
		if err != nil {
			return "", err
		}
		dir, err := lookup(fd, s.ParentID, s.DirID)
		if err != nil {
			return "", err
		}
		paths[id] = above + "/" + dir + s.Name
		return paths[id], nil
	}
	for id := range byID {
		_, _ = find(id) // it is not in paths then
	}
	paths[topLevelID] = "/"
	return paths, nil
}
