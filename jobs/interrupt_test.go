package jobs_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/remote"
)

// Interruptions at random moments of transfers, one after the other, as many as have hit one: each backup is in the end what it would be without, and no interruption
// costs more than one interval of bytes sent twice. Bytes count as sent when the receiver has read them: what a line has under way besides, TestCuts counts on the line itself.
//
// Here, one process sends and receives: SIGKILL ends both ends at once, the run is stopped as SIGTERM does it, the stream breaks off with an error, the power fails at both disks. A
// backup that is pulled over ssh has a process at each end: SIGKILL ends the one that sends, which is `btrkeep serve`, and the run goes on by itself; or the one that receives, and
// the next run does. For a disk that is torn off, see TestTornOff.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	rounds := 20
	if os.Getenv("BTRKEEP_LONG") != "" {
		rounds = 200
	}
	here, far := newVictim(t, 3), newFarVictim(t, 4)
	kinds := []struct {
		v         *victim
		interrupt func(*victim) string
	}{{here, (*victim).killed}, {far, (*victim).senderKilled}, {here, (*victim).powerCut}, {far, (*victim).receiverKilled}, {here, (*victim).dropped}, {here, (*victim).stopped}}
	hit := map[string]int{}
	for n, tries := 0, 0; n < rounds && !t.Failed(); tries++ {
		v := kinds[n%len(kinds)].v
		before := v.interrupted
		kind := kinds[n%len(kinds)].interrupt(v)
		if v.interrupted > before {
			hit[kind]++
			n++
		}
		if v.look(kind); tries > 5*rounds {
			t.Errorf("of %d interruptions only %d were in a transfer: %v", tries, n, hit)
		}
	}
	var sum victim
	for _, v := range []*victim{here, far} {
		if t.Failed() {
			messages, _ := os.ReadFile(filepath.Join(v.logs, "messages"))
			t.Logf("the processes that were killed warned:\n%s\nthe others said:\n%s", messages, v.log.String())
		}
		v.mustRun()
		v.verify()
		v.clean(0)
		sum.completed, sum.resumed, sum.worst = sum.completed+v.completed, sum.resumed+v.resumed, max(sum.worst, v.worst)
		sum.sent, sum.again = sum.sent+v.sent, sum.again+v.again
	}
	for _, kind := range slices.Sorted(maps.Keys(hit)) {
		t.Logf("%4d times %s", hit[kind], kind)
	}
	t.Logf("%d backups completed, %d transfers taken up; at most %d bytes sent twice after one interruption, %.1f %% of all; the interval is %d bytes",
		sum.completed, sum.resumed, sum.worst, 100*float64(sum.again)/float64(sum.sent), int64(interval))
	if sum.resumed < rounds/3 && !t.Failed() {
		t.Errorf("only %d transfers were taken up", sum.resumed)
	}
}

// A disk that is torn off in mid-transfer and put back has what it needs to go on, and the backup is what it would be without.
func TestTornOff(t *testing.T) {
	t.Parallel()
	rounds := 3
	if os.Getenv("BTRKEEP_LONG") != "" {
		rounds = 20
	}
	random := rand.New(rand.NewPCG(5, 6))
	resumed, worst := 0, int64(0)
	whole := newReference(t)
	for range rounds {
		src, dst := testdisk.New(t, testdisk.Options{}), testdisk.NewFaulty(t, testdisk.Options{})
		must(t, btrfs.Create(src.Path, "home"))
		w := newWorldOn(t, src, dst.Disk)
		w.cfg.Checkpoint = config.Checkpoint{Bytes: interval, Time: config.Duration(time.Minute)}
		w.streams = whole.streams
		w.receiver(config.ReceiverNative)
		grow(t, filepath.Join(w.source(), "large"), 24<<20)
		w.job.Destinations[0].RateLimit.Default = rate
		log := newProgressLog(t.TempDir())
		w.runner.Progress = log.note
		torn := time.AfterFunc(200*time.Millisecond+time.Duration(random.Int64N(int64(400*time.Millisecond))), func() {
			for _, op := range []testdisk.Op{testdisk.Read, testdisk.Write, testdisk.Flush, testdisk.Discard} {
				dst.Fail(op, testdisk.Failure{})
			}
		})
		if r := w.run(); r.Result != jobs.ResultFailed {
			t.Errorf("%+v", r)
		}
		torn.Stop()
		image := filepath.Join(t.TempDir(), "dst.img")
		dst.PowerCut(image, random.Uint64(), 0.5)
		back := newWorldOn(t, src, testdisk.MountImage(t, image))
		back.cfg.Checkpoint, back.streams = w.cfg.Checkpoint, w.streams
		back.receiver(config.ReceiverNative)
		tr := back.mustRun().Transfers[0]
		back.verify()
		back.clean(0)
		l := back.listing()
		whole.same("after the disk was torn off", l.Snapshots[0].Path, l.Destinations[0].Backups[0])
		reached := log.transfers()[0].reached
		again := reached - tr.ResumedBytes
		if worst = max(worst, again); again > interval {
			t.Errorf("%d bytes were sent again: %+v", again, tr)
		}
		if tr.ResumedBytes > 0 {
			resumed++
		}
	}
	if resumed == 0 {
		t.Errorf("of %d transfers none was taken up", rounds)
	}
	t.Logf("%4d times the disk was torn off, %d transfers taken up; at most %d bytes sent twice after one of them; the interval is %d bytes", rounds, resumed, worst, int64(interval))
}

// rate slows transfers down, so that most of a run is its transfer.
const rate = 40 << 20

// victim is a world whose runs are interrupted.
type victim struct {
	*world
	src, dst *testdisk.FaultDisk
	random   *rand.Rand
	changes  uint64
	logs     string           // directory of the logs
	reached  map[string]int64 // bytes of the stream that had crossed when it was last interrupted, by snapshot
	compared map[btrfs.UUID]bool
	whole    *reference

	interrupted, completed, resumed int // interrupted: transfers of which something had come over, and not all
	sent, again, worst              int64
}

func newVictim(t *testing.T, seed uint64) *victim {
	options := testdisk.Options{Size: 4 << 30}
	v := &victim{
		src: testdisk.NewFaulty(t, options), dst: testdisk.NewFaulty(t, options), random: rand.New(rand.NewPCG(seed, 4)),
		logs: t.TempDir(), reached: map[string]int64{}, compared: map[btrfs.UUID]bool{}, whole: newReference(t),
	}
	must(t, btrfs.Create(v.src.Path, "home"))
	testdisk.Tree(t, filepath.Join(v.src.Path, "home"), testdisk.Spec{Seed: 7, Files: 300, MaxSize: 128 << 10})
	v.world = newWorldOn(t, v.src.Disk, v.dst.Disk)
	v.streams = v.whole.streams
	slowly(v.world)
	v.change()
	return v
}

func slowly(w *world) {
	w.cfg.Checkpoint = config.Checkpoint{Bytes: interval, Time: config.Duration(time.Minute)}
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 2}, config.Keep{Last: 2}
	w.job.Destinations[0].RateLimit.Default = rate
	w.receiver(config.ReceiverNative)
}

// change makes the next snapshot worth sending. What earlier changes brought goes, so that all stays as large as it is.
func (v *victim) change() {
	v.t.Helper()
	v.changes++
	must(v.t, testdisk.Mutate(v.source(), v.changes, 30))
	for i := range 3 {
		_ = os.Remove(filepath.Join(v.source(), fmt.Sprintf("new-%d-%d", v.changes-3, i))) // the mutation may have been faster
		grow(v.t, filepath.Join(v.source(), fmt.Sprintf("new-%d-%d", v.changes, i)), int64(2<<20+v.random.IntN(4<<20)))
	}
}

// moves waits for a moment at which something may be coming over, or until done is closed: then it is false.
func (v *victim) moves(log *progressLog, done <-chan struct{}) bool {
	later := time.Duration(v.random.Int64N(int64(250 * time.Millisecond)))
	var began time.Time
	for {
		if began.IsZero() && slices.ContainsFunc(log.transfers(), func(p progressed) bool { return p.reached > p.start }) {
			began = time.Now()
		}
		if !began.IsZero() && time.Since(began) >= later {
			return true
		}
		select {
		case <-done:
			return false
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// killed has the run made by a process of its own, which SIGKILL ends: sender and receiver at once.
func (v *victim) killed() string {
	v.t.Helper()
	log := newProgressLog(v.logs)
	v.kill(v.start(log), log)
	v.count(log)
	return "both ends were killed"
}

// kill ends a process that makes a run, in the middle of a transfer.
func (v *victim) kill(c *exec.Cmd, log *progressLog) {
	v.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Wait()
	}()
	if v.moves(log, done) {
		_ = c.Process.Kill()
	}
	<-done
}

// start has the run made by a process of its own.
func (v *victim) start(log *progressLog) *exec.Cmd {
	v.t.Helper()
	v.pass(time.Minute)
	o := order{
		Source: v.src.Path, Destination: v.dst.Path, State: v.cfg.StateDir, Runtime: v.cfg.RuntimeDir, Log: log.path, Messages: filepath.Join(v.logs, "messages"), Clock: v.clock(), Streams: v.streams,
	}
	if v.far != nil {
		o.Far, o.SSH = v.placed().Source, v.far.SSH
	}
	text, err := json.Marshal(o)
	must(v.t, err)
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), victimOrder+"="+string(text))
	c.Stderr = os.Stderr
	must(v.t, c.Start())
	return c
}

// stopped ends the run from outside, as SIGTERM does.
func (v *victim) stopped() string {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	v.pass(time.Minute)
	log := newProgressLog(v.logs)
	v.runner.Progress = log.note
	done := make(chan struct{})
	go func() {
		defer close(done)
		v.runner.Run(ctx, v.placed(), jobs.Options{Clock: v.clock()})
	}()
	v.moves(log, done)
	cancel()
	<-done
	v.count(log)
	return "the run was stopped"
}

// dropped ends the stream after so many bytes, with an error.
func (v *victim) dropped() string {
	v.dropAfter(v.random.Int64N(10 << 20))
	log := newProgressLog(v.logs)
	v.runner.Progress = log.note
	v.run()
	v.receiver(config.ReceiverNative)
	v.count(log)
	return "the stream broke off"
}

// powerCut looks at what the disks would hold, and makes the next run on that; the machine itself goes on.
func (v *victim) powerCut() string {
	v.t.Helper()
	log := newProgressLog(v.logs)
	v.runner.Progress = log.note
	done := make(chan struct{})
	go func() {
		defer close(done)
		v.run()
	}()
	if !v.moves(log, done) {
		v.count(log)
		return "the power failed"
	}
	dir := v.t.TempDir()
	cut := log.transfers()
	images := []string{filepath.Join(dir, "src.img"), filepath.Join(dir, "dst.img")}
	v.dst.PowerCut(images[1], v.random.Uint64(), 0.5) // first: what it has, its source had before
	v.src.PowerCut(images[0], v.random.Uint64(), 0.5)
	<-done
	src, dst := testdisk.MountImage(v.t, images[0]), testdisk.MountImage(v.t, images[1])
	defer func() {
		for i, d := range []*testdisk.Disk{src, dst} {
			d.Close()
			must(v.t, os.Remove(images[i]))
		}
		must(v.t, os.RemoveAll(filepath.Join(dir, "streams")))
	}()
	back := newWorldOn(v.t, src, dst)
	back.now = v.now.Add(time.Hour)
	back.streams = filepath.Join(dir, "streams")
	must(v.t, os.CopyFS(back.streams, os.DirFS(v.streams)))
	slowly(back)
	back.job.Destinations[0].RateLimit = config.Rate{}
	hit := halves(cut, back.complete(0))
	after := newProgressLog(v.logs)
	back.runner.Progress = after.note
	back.mustRun()
	back.verify()
	back.clean(0)
	v.wholeAfter(back)
	reached := map[string]int64{}
	for _, c := range cut {
		reached[c.snapshot] = c.reached
	}
	v.measure("after a power cut", reached, after.transfers())
	v.count(log) // of the machine that goes on
	v.interrupted += hit
	return "the power failed"
}

// count takes account of a run that was interrupted, if it was so in a transfer.
func (v *victim) count(log *progressLog) {
	v.t.Helper()
	transfers := log.transfers()
	v.measure("after an interruption", v.reached, transfers)
	v.interrupted += halves(transfers, v.complete(0))
	for _, p := range transfers {
		v.sent += p.reached - p.start
	}
	must(v.t, os.Remove(log.path))
}

// halves is how many transfers have brought something over, and not all of it.
func halves(transfers []progressed, complete []string) (n int) {
	for i, p := range transfers {
		another := slices.ContainsFunc(transfers[i+1:], func(q progressed) bool { return q.snapshot == p.snapshot })
		if p.reached > p.start && (another || !slices.Contains(complete, p.snapshot)) {
			n++
		}
	}
	return n
}

// measure looks where transfers began that had been interrupted, and notes how far each came.
func (v *victim) measure(when string, reached map[string]int64, transfers []progressed) {
	v.t.Helper()
	for _, p := range transfers {
		before, begun := reached[p.snapshot]
		if reached[p.snapshot] = p.reached; !begun {
			continue
		}
		again := max(before-p.start, 0)
		if v.again, v.worst = v.again+again, max(v.worst, again); again > interval {
			v.t.Errorf("%s, %s had come to %d bytes and began again at %d", when, p.snapshot, before, p.start)
		}
		if p.start > 0 {
			v.resumed++
		}
	}
}

// look at what an interruption has left: each complete backup is its snapshot.
func (v *victim) look(kind string) {
	v.t.Helper()
	l := v.listing()
	fresh := false
	for _, b := range l.Destinations[0].Backups {
		if !b.Complete {
			v.t.Errorf("%s: %s is at a final name and not complete", kind, b.Name)
		}
		i := slices.IndexFunc(l.Snapshots, func(s jobs.ListedSnapshot) bool { return s.UUID == b.ReceivedUUID })
		if i < 0 || v.compared[b.UUID] {
			continue
		}
		v.compared[b.UUID], fresh = true, true
		v.completed++
		diffs, err := testdisk.Compare(l.Snapshots[i].Path, b.Path)
		if err != nil || len(diffs) > 0 {
			v.t.Errorf("%s: %s differs from its snapshot: %v\n%s", kind, b.Name, err, strings.Join(diffs, "\n"))
		}
		v.whole.same(kind, l.Snapshots[i].Path, b)
	}
	if fresh {
		v.change()
	}
}

// victimOrder is the environment variable that makes this program a process to be killed.
const victimOrder = "BTRKEEP_TEST_VICTIM"

// order says what run that process makes.
type order struct {
	Source, Destination, State, Runtime, Log, Messages, Streams string
	Clock                                                       jobs.Clock
	Far                                                         string // what the source is called if it is pulled, over SSH
	SSH                                                         []string
	Restore                                                     *restoreOrder // instead of a run
}

type restoreOrder struct {
	At, To  string
	InPlace bool
}

func runVictim(text string) int {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		panic(err)
	}
	w := &world{cfg: &config.Config{Timezone: time.UTC, Parallel: 1, StateDir: o.State, RuntimeDir: o.Runtime}}
	source := filepath.Join(o.Source, "home")
	w.job = config.Job{
		Name: "home", Source: source, SnapshotDir: filepath.Join(source, config.DefaultSnapshotDir), StallTimeout: config.Duration(time.Minute),
		Destinations: []config.Destination{{Name: "d1", URL: filepath.Join(o.Destination, "backups")}},
	}
	w.streams = o.Streams
	slowly(w)
	if o.Far != "" {
		w.job.Source, w.runner.Origin = o.Far, remote.Opener{SSH: o.SSH, Version: "test", Zone: time.UTC, Checkpoint: w.cfg.Checkpoint}.Origin
	}
	w.runner.Progress = (&progressLog{path: o.Log}).note
	messages, err := os.OpenFile(o.Messages, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		panic(err)
	}
	w.runner.Log = slog.New(slog.NewTextHandler(messages, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if o.Restore != nil {
		if r := w.runner.Restore(context.Background(), jobs.Restoration{Job: w.placed(), At: o.Restore.At, To: o.Restore.To, InPlace: o.Restore.InPlace, Clock: o.Clock}); r.Error != "" {
			fmt.Fprintln(os.Stderr, r.Error)
			return 1
		}
		return 0
	}
	w.runner.Run(context.Background(), w.placed(), jobs.Options{Clock: o.Clock})
	return 0
}

// progressLog is a file with all that a run has reported of its transfers; a kill does not lose it.
type progressLog struct{ path string }

func newProgressLog(dir string) *progressLog {
	f, err := os.CreateTemp(dir, "progress")
	if err != nil {
		panic(err)
	}
	f.Close()
	return &progressLog{f.Name()}
}

func (l *progressLog) note(p jobs.Progress) {
	if p.Step != "transfer" {
		return
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = fmt.Fprintln(f, p.Snapshot, p.Resumed, p.Resumed+p.Bytes)
}

// progressed is one attempt of a transfer in the log: where it began, and where it ended.
type progressed struct {
	snapshot       string
	start, reached int64
}

func (l *progressLog) transfers() (all []progressed) {
	f, err := os.Open(l.path)
	if err != nil {
		return nil
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var p progressed
		if n, _ := fmt.Sscan(s.Text(), &p.snapshot, &p.start, &p.reached); n < 3 {
			continue
		}
		if n := len(all); n > 0 && all[n-1].snapshot == p.snapshot && all[n-1].start == p.start && all[n-1].reached <= p.reached {
			all[n-1].reached = p.reached
		} else {
			all = append(all, p)
		}
	}
	return all
}
