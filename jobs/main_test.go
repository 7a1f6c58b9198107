package jobs_test

import (
	"os"
	"testing"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func TestMain(m *testing.M) {
	if order := os.Getenv(victimOrder); order != "" {
		os.Exit(runVictim(order))
	}
	testdisk.Main(m)
}
