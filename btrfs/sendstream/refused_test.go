package sendstream

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// A disk without checksums cannot hold compressed extents, so that BTRFS_IOC_ENCODED_WRITE refuses them: their content is written, in full and incrementally.
func TestEncodedWriteRefused(t *testing.T) {
	for _, algorithm := range []string{"zlib", "lzo", "zstd"} {
		t.Run(algorithm, func(t *testing.T) {
			l := newLab(t, "compress-force="+algorithm)
			l.native = testdisk.New(t, testdisk.Options{MountOptions: "nodatacow"}).Path
			tree := filepath.Join(l.source, "tree")
			run(t, "btrfs", "subvolume", "create", tree)
			testdisk.Tree(t, tree, testdisk.Spec{Seed: 8, Files: 40, MaxSize: 256 << 10})
			args := []string{"--proto", "2", "--compressed-data"}
			for n := range 3 {
				name := fmt.Sprint(n)
				ok(t, os.WriteFile(filepath.Join(tree, "text"), []byte(strings.Repeat("How well this compresses: "+name+"\n", 50_000)), 0o600))
				takeSnapshot(t, tree, name)
				if !hasEncoded(t, filepath.Join(l.source, name)) {
					t.Fatal("nothing is sent compressed: the test is no test")
				}
				ok(t, l.apply(t, Receiver{}, name, args...))
				wantBackup(t, filepath.Join(l.source, name), filepath.Join(l.native, name))
				if hasEncoded(t, filepath.Join(l.native, name)) {
					t.Error("the disk has taken it compressed: the test is no test")
				}
				ok(t, testdisk.Mutate(tree, uint64(n), 40))
				args = append(args[:2:2], "--compressed-data", "-p", filepath.Join(l.source, name))
			}
		})
	}
}
