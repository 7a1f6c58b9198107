package local

import (
	"context"
	"fmt"

	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// Pin notes the pin in the catalog of the directory.
func (d *Dir) Pin(_ context.Context, b jobs.Backup, reason string) error {
	known, err := catalog.Pin(d.path, b.UUID, reason)
	if err == nil && !known {
		err = jobs.ErrForeign
	}
	if err != nil {
		return fmt.Errorf("pin %s: %w", b.Path, err)
	}
	return nil
}
