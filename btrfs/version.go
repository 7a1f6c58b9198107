package btrfs

import (
	"os"
	"strconv"
	"strings"
)

// StreamVersion is the newest send protocol this kernel speaks (/sys/fs/btrfs/features/send_stream_version; 1 if absent).
func StreamVersion() int {
	text, err := os.ReadFile("/sys/fs/btrfs/features/send_stream_version")
	if err != nil {
		return 1
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 1
	}
	return max(version, 1)
}
