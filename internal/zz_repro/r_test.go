package r

import (
	"testing"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func TestMain(m *testing.M) { testdisk.Main(m) }

func TestR(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{Size: 4 << 30})
	testdisk.Tree(t, d.Path, testdisk.Spec{Seed: 1, Files: 300})
	for i := range 3 {
		if err := testdisk.Mutate(d.Path, 7, 200); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	for i := range 20 {
		if err := testdisk.Mutate(d.Path, uint64(i+10), 200); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}
