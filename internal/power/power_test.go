package power

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOnBattery(t *testing.T) {
	type supply map[string]string
	mains := func(online string) supply { return supply{"type": "Mains", "online": online} }
	battery := func(status string) supply { return supply{"type": "Battery", "status": status} }
	for name, test := range map[string]struct {
		supplies []supply
		want     bool
	}{
		"a desktop":            {},
		"plugged in":           {supplies: []supply{mains("1"), battery("Charging")}},
		"unplugged":            {supplies: []supply{mains("0"), battery("Discharging")}, want: true},
		"held at 80 %":         {supplies: []supply{mains("1"), battery("Not charging")}},
		"no word of the mains": {supplies: []supply{battery("Discharging")}, want: true},
		"USB-C, plugged in":    {supplies: []supply{{"type": "USB", "online": "0"}, {"type": "USB", "online": "1"}, battery("Discharging")}},
		"USB-C, unplugged":     {supplies: []supply{{"type": "USB", "online": "0"}, battery("Discharging")}, want: true},
		"full":                 {supplies: []supply{battery("Full")}},
		"two, one in use":      {supplies: []supply{mains("0"), battery("Unknown"), battery("Discharging")}, want: true},
		"two, one full":        {supplies: []supply{mains("0"), battery("Full"), battery("Discharging")}, want: true},
		"a mouse":              {supplies: []supply{{"type": "Battery", "scope": "Device", "status": "Discharging"}}},
		"a UPS that feeds it":  {supplies: []supply{{"type": "UPS", "status": "Discharging"}}, want: true},
		"says nothing":         {supplies: []supply{{}, {"type": "Battery"}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i, s := range test.supplies {
				at := filepath.Join(dir, string(rune('a'+i)))
				if err := os.Mkdir(at, 0o755); err != nil {
					t.Fatal(err)
				}
				for attribute, value := range s {
					if err := os.WriteFile(filepath.Join(at, attribute), []byte(value+"\n"), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got := onBattery(dir); got != test.want {
				t.Errorf("%v, not %v", got, test.want)
			}
		})
	}
	if onBattery(filepath.Join(t.TempDir(), "nowhere")) {
		t.Error("on battery where the kernel says nothing")
	}
}
