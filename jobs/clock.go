package jobs

import (
	"context"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Clock is one reading of the wall clock beside the clock of this boot, which nobody can set and which goes on while the machine sleeps:
// two readings of one boot show whether the wall clock was moved in between.
type Clock struct {
	Wall time.Time     `json:"wall"`
	Boot time.Duration `json:"boot"` // CLOCK_BOOTTIME, clock_gettime(2)
	ID   string        `json:"id"`   // /proc/sys/kernel/random/boot_id
}

// Now reads the clock.
func Now() Clock {
	c := Clock{Wall: time.Now()}
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil {
		c.Boot = time.Duration(ts.Nano())
	}
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		c.ID = strings.TrimSpace(string(id))
	}
	return c
}

// What counts as a jump.
const (
	maxDrift = 10 * time.Minute // within one boot: more than any time service steps on a running machine
	// A clock that was moved and stays so is believed in the end: after time enough for somebody, or NTP, to set it right.
	clockTrust = 72 * time.Hour
	maxOff     = 400 * 24 * time.Hour // from one boot to another: longer than a machine is usually off
)

// JumpedFrom says how far the wall clock was moved between last and c, and whether that is more than can be trusted. A zero last never is a jump.
func (c Clock) JumpedFrom(last Clock) (by time.Duration, jumped bool) {
	if last.Wall.IsZero() {
		return 0, false
	}
	wall := c.Wall.Sub(last.Wall)
	if c.ID == last.ID && c.Boot != 0 && last.Boot != 0 {
		by = wall - (c.Boot - last.Boot)
		return by, by.Abs() > maxDrift
	}
	return wall, wall > maxOff || wall < -maxDrift
}

// Pause waits, or gives why the context ended.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
