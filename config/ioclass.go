package config

import (
	"fmt"
	"strings"
)

// IOClass is an I/O scheduling class, ioprio_set(2): "idle", "best-effort[:0-7]" or "none".
type IOClass struct {
	Class int // IOPRIO_CLASS_*: 0 none (inherit), 2 best-effort, 3 idle
	Level int // 0 (first) to 7, best-effort only
}

const (
	ioNone       = 0
	ioBestEffort = 2
	ioIdle       = 3

	ioDefaultLevel = 4 // the kernel's own, IOPRIO_NORM
)

// UnmarshalText reads an I/O class as the configuration writes it.
func (c *IOClass) UnmarshalText(text []byte) error {
	const hint = `write "idle", "best-effort", "best-effort:0" (first) to "best-effort:7", or "none"`
	name, level, leveled := strings.Cut(string(text), ":")
	class := IOClass{}
	switch {
	case name == "none" && !leveled:
	case name == "idle" && !leveled:
		class.Class = ioIdle
	case name == "best-effort" && !leveled:
		class = IOClass{ioBestEffort, ioDefaultLevel}
	case name == "best-effort" && len(level) == 1 && level[0] >= '0' && level[0] <= '7':
		class = IOClass{ioBestEffort, int(level[0] - '0')}
	default:
		return refuse(hint, "bad I/O class %q", text)
	}
	*c = class
	return nil
}

// String is the class as the configuration writes it.
func (c IOClass) String() string {
	switch c.Class {
	case ioNone:
		return "none"
	case ioBestEffort:
		return fmt.Sprintf("best-effort:%d", c.Level)
	case ioIdle:
		return "idle"
	default:
		return fmt.Sprintf("class %d", c.Class)
	}
}
