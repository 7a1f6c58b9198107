package sendstream

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// A disk without checksums cannot hold compressed extents, so that BTRFS_IOC_ENCODED_WRITE refuses them: their content is written, in full and incrementally,
// and of an extent of which a file has a part, that part.
func TestEncodedWriteRefused(t *testing.T) {
	for _, algorithm := range []string{"zlib", "lzo", "zstd"} {
		t.Run(algorithm, func(t *testing.T) {
			l := newLab(t, "compress-force="+algorithm)
			l.native = testdisk.New(t, testdisk.Options{MountOptions: "nodatacow"}).Path
			tree := filepath.Join(l.source, "tree")
			run(t, "btrfs", "subvolume", "create", tree)
			testdisk.Tree(t, tree, testdisk.Spec{Seed: 8, Files: 40, MaxSize: 256 << 10})
			s := scene{t, tree}
			s.text("cut", strings.Repeat("How well this compresses.\n", 50_000))
			args := []string{"--proto", "2", "--compressed-data"}
			for n := range 4 {
				name := fmt.Sprint(n)
				s.text("text", strings.Repeat("How well this compresses: "+name+"\n", 50_000))
				takeSnapshot(t, tree, name)
				if n == 3 { // in full, with what is left of the first extents
					args = args[:3]
					wantSent(t, []string{"encoded_write cut .*unencoded_offset=[1-9]"}, "compressed", send(t, append(args, filepath.Join(l.source, name))...))
				}
				if !hasEncoded(t, filepath.Join(l.source, name)) {
					t.Fatal("nothing is sent compressed: the test is no test")
				}
				ok(t, l.apply(t, Receiver{}, name, args...))
				wantBackup(t, filepath.Join(l.source, name), filepath.Join(l.native, name))
				if hasEncoded(t, filepath.Join(l.native, name)) {
					t.Error("the disk has taken it compressed: the test is no test")
				}
				ok(t, testdisk.Mutate(tree, uint64(n), 40))
				s.write("cut", int64(40_000+150_000*n), strings.Repeat("changed", 1000))
				args = append(args[:3:3], "-p", filepath.Join(l.source, name))
			}
		})
	}
}
