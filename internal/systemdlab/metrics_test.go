//go:build long

package systemdlab

import (
	"strings"
	"testing"
	"time"
)

// testMetrics proves that the sandbox lets both outlets through, and that what it does not is said, with what to do, and stops no run.
func (l *lab) testMetrics(t *testing.T) {
	const textfile = "/var/lib/prometheus/node-exporter/btrkeep.prom"
	l.run(t, "install -d -o nobody -m 0755 /var/lib/prometheus/node-exporter") // the node exporter's own
	l.write(t, "/usr/local/bin/scrape", "#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/9797 && printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3\n", 0o755)
	configured := func(address, textfile string) {
		t.Helper()
		l.write(t, mainConfig, "metrics = \""+address+"\"\ntextfile = \""+textfile+"\"\n"+config("native", ""), 0o644)
	}
	configured("127.0.0.1:9797", textfile)
	l.restart(t)
	l.backUp(t, "home")
	const counted = `btrkeep_runs_total{btrkeep_job="home",result="ok"} 1`
	wait(t, 10*time.Second, func() string {
		out, errs, _ := l.try("runuser -u nobody -- scrape")
		if !strings.Contains(out, "200 OK") || !strings.Contains(out, counted) {
			return "by HTTP: " + out + errs
		}
		if out, errs, _ := l.try("runuser -u nobody -- cat " + textfile); !strings.Contains(out, counted) {
			return "in the textfile, as its reader: " + out + errs
		}
		return ""
	})

	logged := l.since(t)
	configured("0.0.0.0:80", "/etc/btrkeep/btrkeep.prom")
	l.run(t, "systemctl reload btrkeep.service")
	wait(t, 10*time.Second, func() string {
		log := logged(t)
		for _, want := range []string{
			`btrkeep.toml:1:11: the metrics at "0.0.0.0:80" can be read by everybody`, "choose one above", "choose a directory below /var",
		} {
			if !strings.Contains(log, want) {
				return "the journal does not say " + want + ":\n" + log
			}
		}
		return ""
	})
	l.backUp(t, "home")
	if _, _, status := l.try("test -e " + textfile); status == 0 {
		t.Error("the textfile that is no longer asked for is still there")
	}
	l.write(t, mainConfig, config("native", ""), 0o644)
	l.restart(t)
}
