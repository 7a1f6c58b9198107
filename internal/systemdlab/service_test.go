//go:build long

package systemdlab

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

const mainConfig = "/etc/btrkeep/btrkeep.toml"

// lab is a container with the package, and two disks.
type lab struct {
	*container
	debs, rpms [2]string // the packages of two versions, 1.0 and 1.1
}

// record is what these tests read of `btrkeep run --json` and `btrkeep history --json`.
type record struct {
	Job       string
	Trigger   string
	Result    string
	Snapshot  string
	Error     string
	Transfers []transfer
}

type transfer struct {
	Destination, Snapshot, Parent, Result string

	Bytes   int64
	Resumed int64 `json:"resumed_bytes"`
}

// last is the transfer of the run's own snapshot; those before it caught up.
func (r record) last() transfer { return r.Transfers[len(r.Transfers)-1] }

func TestService(t *testing.T) {
	debs, rpms := packages(t, "deb"), packages(t, "rpm")
	for _, suite := range suites() {
		t.Run(suite, func(t *testing.T) {
			l := &lab{boot(t, suite), debs, rpms}
			l.plugDisks(t)
			// In this order: each starts with the service running and the disks in use as the one before left them.
			for _, step := range []struct {
				name string
				test func(*testing.T)
			}{
				{"Installed", l.testInstalled},
				{"Starts", l.testStarts},
				{"Runs/btrfs-progs", func(t *testing.T) { l.testRuns(t, "btrfs-progs", 2) }},
				{"Runs/native", func(t *testing.T) { l.testRuns(t, "native", 3) }},
				{"Journal", l.testJournal},
				{"Proves", l.testProves},
				{"Sandbox", l.testSandbox},
				{"Metrics", l.testMetrics},
				{"Reload", l.testReload},
				{"NotifyReload", l.testNotifyReload},
				{"LateDisk", l.testLateDisk},
				{"Plug", l.testPlug},
				{"StopDuringTransfer", l.testStopDuringTransfer},
				{"Watchdog", l.testWatchdog},
				{"BadConfiguration", l.testBadConfiguration},
				{"Upgrade", l.testUpgrade},
				{"Remove", l.testRemove},
				{"Purge", l.testPurge},
				{"RPM", l.testRPM},
			} {
				if !t.Run(step.name, step.test) {
					t.Logf("journal of the service:\n%s", l.journal(t, 60))
					break
				}
			}
		})
	}
}

// config is a configuration with the job "home", and more.
func config(receiver, more string) string {
	return fmt.Sprintf(`receiver = %q

[jobs.home]
source      = "/mnt/src/home"
destination = "/mnt/dst/home"
schedule    = "0 3 1 1 *"
%s`, receiver, more)
}

// show is one property of the service.
func (l *lab) show(t *testing.T, property string) string {
	t.Helper()
	return l.run(t, "systemctl show btrkeep.service --value --property=%s", property)
}

// journal is the last lines of the service, of btrkeep and of systemd about it.
func (l *lab) journal(t *testing.T, lines int) string {
	t.Helper()
	return l.run(t, "journalctl --unit=btrkeep.service --output=short-monotonic --no-pager --lines=%d", lines)
}

// since returns a line for journalctl that shows what is logged from now on.
func (l *lab) since(t *testing.T) func(t *testing.T) string {
	t.Helper()
	cursor := l.run(t, "journalctl --lines=0 --show-cursor --no-pager | sed -n 's/^-- cursor: //p'")
	return func(t *testing.T) string {
		t.Helper()
		return l.run(t, "journalctl --sync; journalctl --unit=btrkeep.service --after-cursor='%s' --output=cat --no-pager", cursor)
	}
}

// restart starts the service afresh and waits until it is ready.
func (l *lab) restart(t *testing.T) {
	t.Helper()
	l.run(t, "systemctl restart btrkeep.service")
	if state := l.show(t, "ActiveState"); state != "active" {
		t.Fatalf("the service is %s after its start", state)
	}
}

// backUp runs a job through the daemon; it must end well.
func (l *lab) backUp(t *testing.T, job string) record {
	t.Helper()
	var records []record
	out := l.run(t, "btrkeep run --json %s", job)
	if err := json.Unmarshal([]byte(out), &records); err != nil {
		t.Fatalf("btrkeep run --json: %v\n%s", err, out)
	}
	if len(records) != 1 || records[0].Result != "ok" || len(records[0].Transfers) == 0 || records[0].last().Snapshot != records[0].Snapshot {
		t.Fatalf("btrkeep run: want one run, all ok, that brought its snapshot over:\n%s", out)
	}
	return records[0]
}

// same fails unless the backup of a run is the snapshot.
func (l *lab) same(t *testing.T, r record, snapshots, backups string) {
	t.Helper()
	diffs, err := testdisk.Compare(l.path(filepath.Join(snapshots, r.Snapshot)), l.path(filepath.Join(backups, r.Snapshot)))
	if err != nil {
		t.Fatal(err)
	}
	if len(diffs) > 0 {
		t.Errorf("the backup differs from its snapshot:\n%s", strings.Join(diffs, "\n"))
	}
}

func (l *lab) testStarts(t *testing.T) {
	// `enable --now` is what the README says; start returns when READY=1 was said.
	l.run(t, "systemctl daemon-reload; systemctl enable --now btrkeep.service")
	if out := l.run(t, "systemctl is-active btrkeep.service; systemctl is-enabled btrkeep.service"); out != "active\nenabled" {
		t.Errorf("is-active, is-enabled: %q", out)
	}
	if text := l.show(t, "StatusText"); text == "" {
		t.Error("no STATUS= was sent")
	}
	if _, errs, status := l.try("systemd-analyze verify --man=no btrkeep.service"); status != 0 || errs != "" {
		t.Errorf("systemd does not take everything in the unit:\n%s", errs)
	}
	t.Log(l.run(t, "systemd-analyze security --no-pager btrkeep.service | tail -n 1"))
	for _, dir := range []string{"/run/btrkeep", "/var/lib/btrkeep"} {
		if mode := l.run(t, "stat -c '%%a %%U' %s", dir); mode != "700 root" {
			t.Errorf("%s: %s", dir, mode)
		}
	}
}

// testRuns makes a full and an incremental backup from inside the sandbox, of a tree that has set-user-ID programs, device nodes, file
// capabilities and all else that a sandbox can refuse to write.
func (l *lab) testRuns(t *testing.T, receiver string, seed uint64) {
	// Each receiver has a destination of its own, which is new to it and gets the snapshots that are there already.
	destination := "/mnt/dst/" + receiver
	if receiver == "native" {
		// It is btrkeep itself, so it has to do without the program.
		l.run(t, "mv /usr/bin/btrfs /usr/bin/btrfs.away")
		defer l.run(t, "mv /usr/bin/btrfs.away /usr/bin/btrfs")
	}
	l.write(t, mainConfig, strings.ReplaceAll(config(receiver, ""), "/mnt/dst/home", destination), 0o644)
	l.restart(t)
	full := l.backUp(t, "home")
	if parent := full.Transfers[0].Parent; parent != "" {
		t.Errorf("the first transfer has a parent, %s", parent)
	}
	l.same(t, full, "/mnt/src/home/.btrkeep", destination)

	if err := testdisk.Mutate(l.path("/mnt/src/home"), seed, 200); err != nil {
		t.Fatal(err)
	}
	next := l.backUp(t, "home")
	if parent := next.last().Parent; parent != full.Snapshot {
		t.Errorf("the second transfer has the parent %q, not %s", parent, full.Snapshot)
	}
	if full.Transfers[0].Bytes <= next.last().Bytes {
		t.Errorf("bytes: in full %d, incrementally %d", full.Transfers[0].Bytes, next.last().Bytes)
	}
	l.same(t, next, "/mnt/src/home/.btrkeep", destination)
}

func (l *lab) testJournal(t *testing.T) {
	r := l.backUp(t, "home")
	l.run(t, "journalctl --sync")
	out := l.run(t, "journalctl BTRKEEP_JOB=home --output=json --no-pager")
	var transfer map[string]any
	for line := range strings.Lines(out) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("journalctl: %v\n%s", err, line)
		}
		if entry["_SYSTEMD_UNIT"] != "btrkeep.service" {
			t.Errorf("a line of job home is not from the service, so the run was not in its sandbox: %s", line)
		}
		if entry["BTRKEEP_SNAPSHOT"] == r.Snapshot && entry["BTRKEEP_DESTINATION"] == "default" && entry["BTRKEEP_BYTES"] != nil {
			transfer = entry
		}
	}
	if transfer == nil {
		t.Fatalf("no line has BTRKEEP_SNAPSHOT=%s, BTRKEEP_DESTINATION=default and BTRKEEP_BYTES:\n%s", r.Snapshot, out)
	}
	if want := strconv.FormatInt(r.last().Bytes, 10); transfer["BTRKEEP_BYTES"] != want {
		t.Errorf("BTRKEEP_BYTES=%v, want %s", transfer["BTRKEEP_BYTES"], want)
	}
	if transfer["BTRKEEP_PARENT"] != r.last().Parent {
		t.Errorf("BTRKEEP_PARENT=%v, want %s", transfer["BTRKEEP_PARENT"], r.last().Parent)
	}
	id, _ := transfer["MESSAGE_ID"].(string)
	if len(id) != 32 {
		t.Fatalf("MESSAGE_ID=%v", transfer["MESSAGE_ID"])
	}
	if n := l.run(t, "journalctl MESSAGE_ID=%s BTRKEEP_SNAPSHOT=%s --output=cat --no-pager | wc -l", id, r.Snapshot); n != "1" {
		t.Errorf("%s lines with the MESSAGE_ID of a transfer for one transfer", n)
	}
}

// testProves has the daemon verify and drill from inside the sandbox, with fingerprints, which are taken by inode numbers.
func (l *lab) testProves(t *testing.T) {
	more := "keep = { last = 1 }\nverify = { schedule = \"@every 1m\", deep = true }\ndrill = { schedule = \"@every 1m\" }\n"
	l.write(t, mainConfig, strings.ReplaceAll(config("native", more), "/mnt/dst/home", "/mnt/dst/proved"), 0o644)
	l.restart(t)
	for i := range 2 {
		l.run(t, "echo %d >/mnt/src/home/proved", i)
		l.backUp(t, "home")
	}
	if n := l.run(t, "ls /mnt/dst/proved/.btrkeep.fingerprints | wc -l"); n != "2" {
		t.Errorf("%s fingerprints of 2 backups", n)
	}
	type proof struct{ Result string }
	var proved []struct {
		Destinations []struct{ Verified, Drill *proof }
	}
	done := func() bool {
		out, _, _ := l.try("btrkeep status --json")
		if err := json.Unmarshal([]byte(out), &proved); err != nil || len(proved) != 1 || len(proved[0].Destinations) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		d := proved[0].Destinations[0]
		return d.Verified != nil && d.Drill != nil
	}
	for n := 0; n < 150 && !done(); n++ {
		time.Sleep(time.Second)
	}
	if d := proved[0].Destinations[0]; d.Verified == nil || d.Drill == nil || d.Verified.Result != "ok" || d.Drill.Result != "ok" {
		t.Errorf("%+v\n%s", proved, l.journal(t, 30))
	}
}

func (l *lab) testReload(t *testing.T) {
	pid := l.show(t, "MainPID")
	l.run(t, "btrfs subvolume create /mnt/src/srv")
	l.write(t, mainConfig, config("native", `
[jobs.srv]
source      = "/mnt/src/srv"
destination = "/mnt/dst/srv"
`), 0o644)
	l.run(t, "systemctl reload btrkeep.service")
	// With Type=notify, reload only sends the signal.
	wait(t, 10*time.Second, func() string {
		if out := l.run(t, "btrkeep status --json"); !strings.Contains(out, `"srv"`) {
			return "the job of the new file is not in the status:\n" + out
		}
		return ""
	})
	l.backUp(t, "srv")

	logged := l.since(t)
	l.write(t, mainConfig, config("native", "\n[jobs.srv]\nsource = 5\nsorce = \"/mnt/src/srv\"\n"), 0o644)
	l.run(t, "systemctl reload btrkeep.service")
	wait(t, 10*time.Second, func() string {
		log := logged(t)
		for _, want := range []string{mainConfig + ":9", mainConfig + ":10", "sorce"} {
			if !strings.Contains(log, want) {
				return fmt.Sprintf("the journal does not say %s:\n%s", want, log)
			}
		}
		return ""
	})
	if now := l.show(t, "MainPID"); now != pid || l.show(t, "ActiveState") != "active" {
		t.Errorf("main process %s is now %s", pid, now)
	}
	// The command line reads the broken file and says so; the daemon still knows the old one, and obeys a corrected one.
	if _, errs, status := l.try("btrkeep run srv"); status != 2 || !strings.Contains(errs, mainConfig+":9") {
		t.Errorf("btrkeep run with a broken file: exit status %d\n%s", status, errs)
	}
	l.write(t, mainConfig, config("native", ""), 0o644)
	logged = l.since(t)
	l.run(t, "systemctl reload btrkeep.service")
	wait(t, 10*time.Second, func() string {
		if out := l.run(t, "btrkeep status --json"); strings.Contains(out, `"srv"`) {
			return "the job that was taken out is still in the status:\n" + out
		}
		return ""
	})
}

// testNotifyReload tries the drop-in for systemd 253 and later, with which reload returns when the new file is in use.
func (l *lab) testNotifyReload(t *testing.T) {
	version, _, _ := strings.Cut(strings.TrimPrefix(l.run(t, "systemctl --version"), "systemd "), " ")
	if n, err := strconv.Atoi(version); err != nil || n < 253 {
		t.Logf("systemd %s has no Type=notify-reload", version)
		return
	}
	const dropIn = "/etc/systemd/system/btrkeep.service.d/notify-reload.conf"
	l.install(t, "../../contrib/systemd/drop-ins/notify-reload.conf", dropIn, 0o644)
	l.run(t, "systemctl daemon-reload")
	l.restart(t)
	if _, errs, status := l.try("systemd-analyze verify --man=no btrkeep.service"); status != 0 || errs != "" {
		t.Errorf("systemd does not take the drop-in:\n%s", errs)
	}
	for i, more := range []string{"\n[jobs.two]\nsource = \"/mnt/src/srv\"\ndestination = \"/mnt/dst/two\"\n", ""} {
		l.write(t, mainConfig, config("native", more), 0o644)
		if out := l.run(t, "systemctl reload btrkeep.service; btrkeep status --json"); strings.Contains(out, `"two"`) != (i == 0) {
			t.Errorf("reload %d returned before the new file was in use:\n%s", i, out)
		}
	}
	l.run(t, "rm %s; systemctl daemon-reload", dropIn)
	l.restart(t)
}

// testLateDisk mounts a disk after the daemon's start: it must be seen in the daemon's mount namespace, and leave it.
func (l *lab) testLateDisk(t *testing.T) {
	l.write(t, mainConfig, config("native", `
[jobs.late]
source = "/mnt/src/srv"

[jobs.late.destinations.usb]
url           = "/mnt/late/srv"
require_mount = "/mnt/late"
`), 0o644)
	l.restart(t)
	if out, errs, status := l.try("btrkeep run late"); status != 75 {
		t.Errorf("without the disk: exit status %d, want 75\n%s\n%s", status, out, errs)
	}
	if out := l.run(t, "ls -A /mnt/late"); out != "" {
		t.Errorf("something was written into the empty mount point: %s", out)
	}
	device := l.plug(t, 1<<30)
	for _, round := range []string{"plugged in", "plugged in again"} {
		l.run(t, "mount -t btrfs %s /mnt/late; date +%%N >/mnt/src/srv/file", device)
		r := l.backUp(t, "late")
		l.same(t, r, "/mnt/src/srv/.btrkeep", "/mnt/late/srv")
		if out, errs, status := l.try("umount /mnt/late"); status != 0 {
			t.Fatalf("%s: the disk cannot be unmounted: %s %s", round, out, errs)
		}
		// A mount that stayed in the daemon's namespace would keep the disk busy after its unmounting.
		if out := l.run(t, "grep -l ' /mnt/late ' /proc/[0-9]*/mountinfo || true"); out != "" {
			t.Errorf("%s: still mounted in %s", round, out)
		}
	}
}

// underWay begins a run of a job, which is made for it, and waits until its transfer is in the middle. What comes of the run is sent, if the command tells.
func (l *lab) underWay(t *testing.T, job string) <-chan record {
	t.Helper()
	l.run(t, "btrfs subvolume create /mnt/src/%s", job)
	l.run(t, "head -c 768M /dev/urandom >/mnt/src/%s/file", job)
	l.write(t, mainConfig, "checkpoint = { bytes = \"32M\", time = \"10s\" }\n"+config("native", fmt.Sprintf("\n[jobs.%s]\nsource = \"/mnt/src/%[1]s\"\ndestination = \"/mnt/dst/%[1]s\"\n", job)), 0o644)
	l.restart(t)

	done := make(chan record, 1)
	go func() {
		out, _, _ := l.try("btrkeep run --json " + job)
		var records []record
		if json.Unmarshal([]byte(out), &records) == nil && len(records) == 1 {
			done <- records[0]
		}
		close(done)
	}()
	wait(t, 30*time.Second, func() string {
		// What is on its way has a hidden name; 64 MiB of it have arrived.
		if files, _ := filepath.Glob(l.path("/mnt/dst/" + job + "/.*/file")); len(files) > 0 {
			if st, err := os.Stat(files[0]); err == nil && st.Size() > 64<<20 {
				return ""
			}
		}
		return "no transfer under way"
	})
	return done
}

func (l *lab) testStopDuringTransfer(t *testing.T) {
	done := l.underWay(t, "big")
	began := time.Now()
	l.run(t, "systemctl stop btrkeep.service")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if result, status := l.show(t, "Result"), l.show(t, "ExecMainStatus"); result != "success" || status != "0" {
		t.Errorf("stopped with result %s, exit status %s", result, status)
	}
	if r, ok := <-done; ok && r.Result == "ok" {
		t.Fatalf("the transfer was done before the stop: %+v", r)
	}
	var past []record
	if err := json.Unmarshal([]byte(l.run(t, "btrkeep history --json big")), &past); err != nil || len(past) != 1 || past[0].Result != "failed" {
		t.Errorf("history after the stop: %+v, %v", past, err)
	}
	if left := l.run(t, "cat /sys/fs/cgroup/system.slice/btrkeep.service/cgroup.procs 2>/dev/null || true"); left != "" {
		t.Errorf("processes left: %s", left)
	}
	// Locks may be held by a command line run, so their directory outlives the daemon.
	l.run(t, "test -d /run/btrkeep")

	l.run(t, "systemctl start btrkeep.service")
	r := l.backUp(t, "big")
	l.same(t, r, "/mnt/src/big/.btrkeep", "/mnt/dst/big")
	if left, _ := filepath.Glob(l.path("/mnt/dst/big/.*/file")); len(left) > 0 {
		t.Errorf("left of the stopped transfer: %s", left)
	}
}

func (l *lab) testWatchdog(t *testing.T) {
	const dropIn = "/etc/systemd/system/btrkeep.service.d/fast.conf"
	l.write(t, dropIn, "[Service]\nWatchdogSec=3s\nRestartSec=1s\n", 0o644)
	l.run(t, "systemctl daemon-reload")
	l.restart(t)
	// Left alone it answers in time.
	pid := l.show(t, "MainPID")
	time.Sleep(7 * time.Second)
	if now := l.show(t, "MainPID"); now != pid {
		t.Fatalf("main process %s, which did not hang, is now %s", pid, now)
	}

	logged := l.since(t)
	l.run(t, "kill -STOP %s", pid)
	wait(t, 20*time.Second, func() string {
		if now := l.show(t, "MainPID"); now == pid || now == "0" || l.show(t, "ActiveState") != "active" {
			return fmt.Sprintf("main process %s, state %s:\n%s", now, l.show(t, "ActiveState"), logged(t))
		}
		return ""
	})
	if n := l.show(t, "NRestarts"); n != "1" {
		t.Errorf("%s restarts", n)
	}
	if log := logged(t); !strings.Contains(log, "Watchdog timeout") || !strings.Contains(log, "goroutine ") {
		t.Errorf("the journal has neither the watchdog nor the stacks:\n%s", log)
	}
	l.backUp(t, "home")
	l.run(t, "rm %s; systemctl daemon-reload", dropIn)
}

// testBadConfiguration starts the service with a mistake: it fails at once, says where, and is not tried again.
func (l *lab) testBadConfiguration(t *testing.T) {
	logged := l.since(t)
	l.write(t, mainConfig, config("native", "keep = { dayly = 7 }\n"), 0o644)
	if out, errs, status := l.try("systemctl restart btrkeep.service"); status == 0 {
		t.Errorf("started with a mistake in its configuration: %s %s", out, errs)
	}
	if state, n := l.show(t, "ActiveState"), l.show(t, "NRestarts"); state != "failed" || n != "0" {
		t.Errorf("state %s after %s restarts", state, n)
	}
	if log := logged(t); !strings.Contains(log, mainConfig+":7") {
		t.Errorf("the journal does not say where the mistake is:\n%s", log)
	}
	l.write(t, mainConfig, config("native", ""), 0o644)
	l.restart(t)
	l.run(t, "systemctl disable --now btrkeep.service")
}
