package sendstream

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

var update = flag.Bool("update", false, "make testdata/*.stream and most of testdata/kept anew with btrfs send")

func TestMain(m *testing.M) { testdisk.Main(m) }

// corpus is a stream that a kernel made, of a few KiB.
type corpus struct {
	name   string
	stream []byte
}

// corpora gives the streams of testdata.
func corpora(t testing.TB) []corpus {
	t.Helper()
	files, err := filepath.Glob("testdata/*.stream")
	ok(t, err)
	if len(files) == 0 {
		t.Fatal("no streams in testdata")
	}
	var all []corpus
	for _, file := range files {
		stream, err := os.ReadFile(file)
		ok(t, err)
		all = append(all, corpus{filepath.Base(file), stream})
	}
	return all
}

func ok(t rapid.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
