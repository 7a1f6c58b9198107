package sendstream

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// TestUpdateCorpus makes testdata/*.stream when asked to: small streams with every command that a kernel sends for such trees.
func TestUpdateCorpus(t *testing.T) {
	if !*update {
		return
	}
	disk := testdisk.New(t, testdisk.Options{MountOptions: "compress-force=zstd"})
	source := filepath.Join(disk.Path, "source")
	run(t, "btrfs", "subvolume", "create", source)
	corpusTree(t, source)
	first := takeSnapshot(t, source, "first")
	corpusChanges(t, source)
	second := takeSnapshot(t, source, "second")
	for name, args := range map[string][]string{
		"v1-full":        {"--proto", "1", first},
		"v1-incremental": {"--proto", "1", "-p", first, second},
		"v1-no-data":     {"--proto", "1", "--no-data", "-p", first, second},
		"v2-full":        {"--proto", "2", first},
		"v2-compressed":  {"--proto", "2", "--compressed-data", first},
		"v2-incremental": {"--proto", "2", "-p", first, second},
	} {
		ok(t, os.WriteFile(filepath.Join("testdata", name+".stream"), send(t, args...), 0o644))
	}
}

// corpusText is more than one sector, and shorter when compressed.
var corpusText = strings.Repeat("a line of text\n", 300)

func corpusTree(t testing.TB, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	ok(t, os.Mkdir(at("dir"), 0o755))
	ok(t, os.WriteFile(at("dir/text"), []byte(corpusText), 0o640))
	for _, algorithm := range []string{"zlib", "lzo"} {
		ok(t, os.WriteFile(at(algorithm), nil, 0o600))
		ok(t, unix.Setxattr(at(algorithm), xattrCompression, []byte(algorithm), 0))
		f, err := os.OpenFile(at(algorithm), os.O_WRONLY, 0)
		ok(t, err)
		_, err = f.WriteString(corpusText)
		ok(t, err)
		ok(t, f.Close())
	}
	ok(t, os.WriteFile(at("empty"), nil, 0o4755))
	ok(t, os.WriteFile(at("dir/small"), []byte("small"), 0o600))
	ok(t, os.Link(at("dir/small"), at("hard")))
	ok(t, os.Symlink("../outside/../whatever", at("link")))
	ok(t, unix.Mkfifo(at("fifo"), 0o600))
	ok(t, unix.Mknod(at("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	ok(t, unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0))
	ok(t, unix.Setxattr(at("dir"), "user.note", []byte("of a directory"), 0))
	ok(t, unix.Setxattr(at("dir/small"), "user.gone", []byte("soon"), 0))
	ok(t, os.Lchown(at("dir/text"), 1000, 1001))
	ok(t, os.WriteFile(at("moved"), []byte("here"), 0o600))
	ok(t, os.WriteFile(at("removed"), []byte("still here"), 0o600))
	ok(t, os.Mkdir(at("olddir"), 0o700))
	noise := make([]byte, 8192) // what does not compress into the inode is cloned
	_, err := rand.NewChaCha8([32]byte{}).Read(noise)
	ok(t, err)
	ok(t, os.WriteFile(at("cloned"), noise, 0o600))
	ok(t, os.WriteFile(at("old\nname"), bytes.Repeat([]byte{'x'}, 4096), 0o600))
}

func corpusChanges(t testing.TB, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	ok(t, os.Rename(at("moved"), at("dir/moved")))
	ok(t, os.Remove(at("removed")))
	ok(t, os.Remove(at("olddir")))
	ok(t, os.Chmod(at("empty"), 0o600))
	ok(t, unix.Removexattr(at("dir/small"), "user.gone"))
	ok(t, os.Truncate(at("dir/text"), 100))
	run(t, "cp", "--reflink=always", at("cloned"), at("clone"))
	f, err := os.Create(at("holes"))
	ok(t, err)
	_, err = f.WriteAt([]byte("after a hole"), 20000)
	ok(t, err)
	ok(t, f.Close())
	f, err = os.OpenFile(at("old\nname"), os.O_WRONLY, 0)
	ok(t, err)
	ok(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096))
	ok(t, f.Close())
}

// takeSnapshot makes a read-only snapshot beside source.
func takeSnapshot(t rapid.TB, source, name string) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(source), name)
	run(t, "btrfs", "subvolume", "snapshot", "-r", source, path)
	return path
}

// send gives the stream that btrfs send makes.
func send(t rapid.TB, args ...string) []byte {
	t.Helper()
	var said bytes.Buffer
	command := exec.Command("btrfs", append([]string{"send", "-q"}, args...)...)
	command.Stderr = &said
	stream, err := command.Output()
	if err != nil {
		t.Fatalf("send %q: %v\n%s", args, err, said.Bytes())
	}
	return stream
}

func run(t rapid.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}
