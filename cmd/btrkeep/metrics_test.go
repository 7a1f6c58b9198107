package main_test

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// freeAddress is one at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// series are the values of an exposition, by name and labels.
type series map[string]float64

func parseSeries(t *testing.T, text string) series {
	t.Helper()
	s := series{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(strings.TrimSpace(line[i+1:]), 64)
		must(t, err)
		s[line[:i]] = v
	}
	return s
}

// scrape asks the daemon as Prometheus does; nil if nobody listens.
func scrape(t *testing.T, address string) series {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", resp.Status, b)
	}
	return parseSeries(t, string(b))
}

func (s series) want(t *testing.T, values series) {
	t.Helper()
	for name, want := range values {
		if got, ok := s[name]; !ok || got != want {
			t.Errorf("%s: %g (is there: %v), want %g", name, got, ok, want)
		}
	}
}

// hasJob reports whether there is anything of a job.
func (s series) hasJob(name string) bool {
	for key := range s {
		if strings.Contains(key, fmt.Sprintf("btrkeep_job=%q", name)) {
			return true
		}
	}
	return false
}

// What is told is right before the first run, after runs, whoever made them, while a disk is away, and after reloads; by HTTP and in the textfile.
func TestMetrics(t *testing.T) {
	t.Parallel()
	usb := testdisk.New(t, disk)
	m := machineOn(t, testdisk.New(t, disk).Path, testdisk.New(t, disk).Path, usb.Path)
	must(t, btrfs.Create(m.srcPath, "home"))
	must(t, btrfs.Create(m.srcPath, "srv"))
	address := freeAddress(t)
	const home = `
[jobs.home]
source = "$SRC/home"
schedule = "@yearly"
keep = { last = 5 }
[jobs.home.destinations]
disk = { url = "$DST1/home", max_age = "14d", keep = { last = 2 } }
usb  = { url = "$DST2/home", require_mount = "$DST2" }
`
	const srv = `
[jobs.srv]
source = "$SRC/srv"
destination = "$DST1/srv"
`
	outlets := fmt.Sprintf("metrics = %q\ntextfile = \"$DIR/btrkeep.prom\"\n", address)
	textfile := filepath.Join(m.dir, "btrkeep.prom")
	m.configure(outlets + home + srv)
	daemon := m.startDaemon()
	eventually(t, "the daemon answers", func() bool { return scrape(t, address) != nil })
	scrape(t, address).want(t, series{
		`btrkeep_job_last_success_timestamp_seconds{btrkeep_job="home"}`:                            0,
		`btrkeep_job_last_success_timestamp_seconds{btrkeep_job="srv"}`:                             0,
		`btrkeep_destination_newest_backup_timestamp_seconds{btrkeep_job="home",destination="usb"}`: 0,
		`btrkeep_destination_max_age_seconds{btrkeep_job="home",destination="disk"}`:                14 * 86400,
		`btrkeep_problem{btrkeep_job="home",destination="disk",kind="stale"}`:                       0,
		`btrkeep_runs_total{btrkeep_job="srv",result="ok"}`:                                         0,
		`btrkeep_daemon_up`: 1, `btrkeep_config_last_reload_successful`: 1,
	})

	began := float64(time.Now().Unix())
	m.grow("a", 1, 100_000)
	m.mustRun("home")
	m.grow("b", 2, 200_000)
	m.mustRun("home")
	last := m.history()[0]
	taken, err := time.Parse("20060102T150405Z", strings.SplitN(last.Snapshot, "-", 2)[0])
	must(t, err)
	got := scrape(t, address)
	got.want(t, series{
		`btrkeep_job_snapshots{btrkeep_job="home"}`:                                                2,
		`btrkeep_runs_total{btrkeep_job="home",result="ok"}`:                                       2,
		`btrkeep_run_duration_seconds_count{btrkeep_job="home"}`:                                   2,
		`btrkeep_destination_backups{btrkeep_job="home",destination="disk"}`:                       2,
		`btrkeep_destination_backlog_snapshots{btrkeep_job="home",destination="disk"}`:             0,
		`btrkeep_destination_size_bytes{btrkeep_job="home",destination="usb"}`:                     float64(disk.Size),
		`btrkeep_destination_absent_since_timestamp_seconds{btrkeep_job="home",destination="usb"}`: 0,
		`btrkeep_job_running{btrkeep_job="home"}`:                                                  0,
		`btrkeep_problem{btrkeep_job="home",destination="disk",kind="failing"}`:                    0,
	})
	for _, tr := range last.Transfers {
		got.want(t, series{fmt.Sprintf(`btrkeep_destination_last_transfer_bytes{btrkeep_job="home",destination=%q}`, tr.Destination): float64(tr.Bytes)})
	}
	for _, name := range []string{
		`btrkeep_job_last_success_timestamp_seconds{btrkeep_job="home"}`, `btrkeep_job_last_attempt_timestamp_seconds{btrkeep_job="home"}`,
		`btrkeep_destination_last_success_timestamp_seconds{btrkeep_job="home",destination="usb"}`,
	} {
		if v := got[name]; v < began || v > began+patience.Seconds() {
			t.Errorf("%s: %f, want %f or a little later", name, v, began)
		}
	}
	if at := got[`btrkeep_destination_newest_backup_timestamp_seconds{btrkeep_job="home",destination="disk"}`]; math.Floor(at) != float64(taken.Unix()) {
		t.Errorf("the newest backup is of %f, want %d", at, taken.Unix())
	}
	if free := got[`btrkeep_destination_free_bytes{btrkeep_job="home",destination="usb"}`]; free <= 0 || free >= float64(disk.Size) {
		t.Errorf("free: %g", free)
	}
	read := func() series {
		b, err := os.ReadFile(textfile)
		if err != nil {
			return nil
		}
		return parseSeries(t, string(b))
	}
	eventually(t, "the textfile says the same", func() bool { return read()[`btrkeep_runs_total{btrkeep_job="home",result="ok"}`] == 2 })
	read().want(t, series{`btrkeep_destination_backups{btrkeep_job="home",destination="disk"}`: 2})

	// A process that knows nothing of the daemon, while a disk is away.
	usb.Unmount()
	other := filepath.Join(m.dir, "other.toml")
	b, err := os.ReadFile(m.config)
	must(t, err)
	must(t, os.WriteFile(other, []byte(strings.Replace(string(b), "textfile", "#textfile", 1)), 0o600))
	m.grow("c", 3, 1000)
	if r := m.startWith(other, "run", "home").wait(patience); r.status != 75 {
		t.Errorf("run with a disk away: %s", r)
	}
	got = scrape(t, address)
	got.want(t, series{
		`btrkeep_job_snapshots{btrkeep_job="home"}`:                                   3,
		`btrkeep_destination_backups{btrkeep_job="home",destination="disk"}`:          2, // keep
		`btrkeep_destination_backlog_snapshots{btrkeep_job="home",destination="usb"}`: 1,
		`btrkeep_runs_total{btrkeep_job="home",result="ok"}`:                          2,
		`btrkeep_problem{btrkeep_job="home",destination="usb",kind="failing"}`:        0,
	})
	if v := got[`btrkeep_destination_absent_since_timestamp_seconds{btrkeep_job="home",destination="usb"}`]; v < began {
		t.Errorf("absent since %f", v)
	}
	m.touchesNoDisk(daemon, address)

	reload := func(text string) {
		t.Helper()
		before := strings.Count(daemon.stderr.String(), "configuration reloaded")
		m.configure(text)
		daemon.signal(unix.SIGHUP)
		eventually(t, "it is reloaded", func() bool { return strings.Count(daemon.stderr.String(), "configuration reloaded") > before })
	}
	reload(outlets + srv)
	if got := scrape(t, address); got.hasJob("home") || !got.hasJob("srv") {
		t.Errorf("after the reload without home: %v", got)
	}
	reload(srv)
	eventually(t, "the listener is closed", func() bool { return scrape(t, address) == nil })
	eventually(t, "the textfile is removed", func() bool { return read() == nil })
	reload(outlets + home + srv)
	eventually(t, "the listener is open again", func() bool { return scrape(t, address).hasJob("home") })
	must(t, os.WriteFile(m.config, []byte("colour = 3"), 0o600))
	daemon.signal(unix.SIGHUP)
	eventually(t, "the bad configuration is told of", func() bool { return scrape(t, address)["btrkeep_config_last_reload_successful"] == 0 })
	m.configure(outlets + home + srv)
	daemon.stop()
	read().want(t, series{`btrkeep_daemon_up`: 0})

	// Without a daemon.
	m.mustRun("srv")
	got = read()
	got.want(t, series{`btrkeep_daemon_up`: 0, `btrkeep_destination_backups{btrkeep_job="srv",destination="default"}`: 1})
	if _, ok := got[`btrkeep_runs_total{btrkeep_job="home",result="ok"}`]; ok {
		t.Error("a run without the daemon tells of the daemon's runs")
	}
}

// touchesNoDisk fails the test if being scraped makes the daemon look at a source or a destination.
func (m *machine) touchesNoDisk(daemon *process, address string) {
	m.t.Helper()
	trace := filepath.Join(m.dir, "trace")
	strace := exec.Command("strace", "-f", "-e", "trace=%file", "-p", strconv.Itoa(daemon.cmd.Process.Pid), "-o", trace)
	var said output
	strace.Stderr = &said
	must(m.t, strace.Start())
	defer func() { _ = strace.Process.Kill() }()
	eventually(m.t, "strace is attached", func() bool { return strings.Contains(said.String(), "attached") })
	for range 3 {
		scrape(m.t, address)
	}
	must(m.t, strace.Process.Signal(unix.SIGINT))
	_ = strace.Wait() // it ends by the signal
	b, err := os.ReadFile(trace)
	must(m.t, err)
	if !strings.Contains(string(b), filepath.Join(m.state, "jobs")) {
		m.t.Errorf("nothing was seen:\n%s", b)
	}
	for _, path := range append([]string{m.srcPath}, m.dests...) {
		if strings.Contains(string(b), path) {
			m.t.Errorf("a scrape looks at %s:\n%s", path, b)
		}
	}
}

// An address that others reach is said to be one, by check and in the log; one that cannot be opened stops nothing.
func TestPublicMetrics(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	m.configure("metrics = \"192.0.2.1:9797\"\n" + oneJob) // of nobody, RFC 5737
	warning := m.config + `:3:11: the metrics at "192.0.2.1:9797" can be read by everybody`
	if r := m.must("check"); !strings.Contains(r.stderr, "btrkeep: warning: "+warning) {
		t.Errorf("check: %s", r)
	}
	m.configure("metrics = \"192.0.2.1:9797\"\ntextfile = \"$DIR/missing/btrkeep.prom\"\n" + oneJob)
	if r := m.btrkeep("check"); r.status != 1 || !strings.Contains(r.stderr, "btrkeep: error: textfile: stat "+m.dir+"/missing: no such file") {
		t.Errorf("check: %s", r)
	}
	daemon := m.startDaemon()
	m.mustRun("home")
	eventually(t, "the log says what is wrong", func() bool {
		log := daemon.stderr.String()
		return strings.Contains(log, warning) && strings.Contains(log, `open the address "192.0.2.1:9797"`) && strings.Contains(log, "this machine does not have that address") &&
			strings.Contains(log, "missing/btrkeep.prom.new: no such file or directory") && strings.Contains(log, "make the directory that the node exporter reads")
	})
	daemon.stop()
}
