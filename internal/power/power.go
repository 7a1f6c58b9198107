// Package power tells where the machine has its power from.
package power

import (
	"os"
	"path/filepath"
	"strings"
)

// supplies is where the kernel lists what feeds the machine: ABI/testing/sysfs-class-power in its documentation.
const supplies = "/sys/class/power_supply"

// OnBattery reports whether the machine runs on a battery: no line power is online, and a battery of the machine itself is being drained, and none charged. A machine without any, or one
// that does not say, is not on battery.
func OnBattery() bool { return onBattery(supplies) }

func onBattery(dir string) bool {
	all, err := filepath.Glob(dir + "/*")
	if err != nil {
		return false
	}
	drained := false
	for _, supply := range all {
		read := func(attribute string) string {
			b, _ := os.ReadFile(filepath.Join(supply, attribute))
			return strings.TrimSpace(string(b))
		}
		switch read("type") {
		case "Mains", "USB", "Wireless": // USB: a charger at a USB port of type C
			if read("online") == "1" {
				return false
			}
		case "Battery", "UPS":
			if scope := read("scope"); scope == "Device" { // of a mouse
				continue
			}
			switch read("status") {
			case "Discharging":
				drained = true
			case "Charging":
				return false
			}
		}
	}
	return drained
}
