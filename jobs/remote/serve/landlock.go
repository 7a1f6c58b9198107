package serve

import (
	"fmt"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
)

// Confine takes from this process the right to touch files that it does not need for o, where the kernel has Landlock; see landlock(7). It is a second wall behind the checks of each request, and
// cannot be undone. The first wall does not rest on it.
func Confine(o Options) error {
	if o.Can.Source { // which has to be there to be let in: locks of sources are in it
		if err := os.MkdirAll(o.RuntimeDir, 0o700); err != nil {
			return fmt.Errorf("runtime directory: %w", err)
		}
	}
	rules := []landlock.Rule{
		// What tells of mounts, disks, time zones and this machine.
		landlock.RODirs("/proc", "/sys", "/etc", "/usr/share/zoneinfo").IgnoreIfMissing(),
		landlock.RWFiles("/dev/null").IgnoreIfMissing(),
		landlock.RWDirs(o.RuntimeDir).IgnoreIfMissing(),
	}
	write := o.Can.Add || o.Can.Delete
	for _, root := range o.Roots {
		if write {
			rules = append(rules, landlock.RWDirs(root).WithRefer())
		} else {
			rules = append(rules, landlock.RODirs(root))
		}
	}
	for _, source := range o.Sources {
		rules = append(rules, landlock.RWDirs(source).WithRefer())
	}
	if err := landlock.V5.BestEffort().RestrictPaths(rules...); err != nil {
		return fmt.Errorf("confine to %v %v: %w", o.Roots, o.Sources, err)
	}
	return nil
}
