//go:build long

package systemdlab

import (
	"os"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func TestMain(m *testing.M) { testdisk.Main(m) }

// suites are the Debian releases to boot: the oldest systemd that the unit is written for (252), and a newer one with notify-reload (257).
func suites() []string {
	if s := os.Getenv("BTRKEEP_TEST_SUITES"); s != "" {
		return strings.Fields(s)
	}
	return []string{"bookworm", "trixie"}
}
