package config

import (
	"fmt"
	"strings"
	"testing"
)

const aJob = `
[jobs.home]
source      = "/home"
destination = "/mnt/home"
keep        = { daily = 7 }
`

// An address that others can reach is taken, and said to be one.
func TestPublicMetrics(t *testing.T) {
	for address, public := range map[string]bool{
		"127.0.0.1:9797": false, "127.8.9.1:9797": false, "localhost:9797": false, "LocalHost:9797": false, "[::1]:9797": false, "[::ffff:127.0.0.1]:9797": false,
		":9797": true, "0.0.0.0:9797": true, "[::]:9797": true, "[::ffff:0.0.0.0]:9797": true, "192.168.1.2:9797": true, "10.0.0.1:9797": true, "[fe80::1%eth0]:9797": true,
		"monitor.lan:9797": true, "localhost.example:9797": true, "127.1:9797": true,
	} {
		c := loadText(t, fmt.Sprintf("parallel = 1\nmetrics = %q\n", address)+aJob)
		if c.Metrics != address {
			t.Errorf("%s: %q", address, c.Metrics)
		}
		var want []string
		if public {
			want = []string{fmt.Sprintf("test.toml:2:11: the metrics at %q can be read by everybody who reaches that address", address)}
		}
		if len(c.Warnings) != len(want) || len(want) == 1 && !strings.HasPrefix(c.Warnings[0], want[0]) {
			t.Errorf("%s: warnings %q, want %q", address, c.Warnings, want)
		}
	}
	if c := loadText(t, "textfile = \"/var/lib/node_exporter/btrkeep.prom\""+aJob); c.Textfile != "/var/lib/node_exporter/btrkeep.prom" || len(c.Warnings) != 0 {
		t.Errorf("textfile: %q, %q", c.Textfile, c.Warnings)
	}
}
