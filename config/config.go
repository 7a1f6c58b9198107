// Package config reads btrkeep's TOML file into typed values.
//
// [Load] reads one file and its drop-in directory, applies [defaults] to every
// job, and checks everything that can be checked without touching a file system.
// Every mistake is reported, each with file, line, column, the offending line
// and a hint; see [Errors].
package config

import "time"

// Config is one configuration: the main file, its drop-ins, defaults applied.
type Config struct {
	Timezone   *time.Location // where schedules and retention buckets live; never nil
	Parallel   int            // runs at once, ≥ 1
	StateDir   string         // absolute
	RuntimeDir string         // absolute; locks and the control socket
	Checkpoint Checkpoint
	Receiver   Receiver
	Metrics    string   // host:port at which Prometheus may ask, or "" for off
	Textfile   string   // path of a file for the node exporter, or ""
	Notify     Notify   // that of [defaults]: whom to tell of what concerns no job alone
	Jobs       []Job    // sorted by name
	Groups     []Job    // those that stand for others, once these have taken their place in Jobs: see jobs.Members
	Files      []string // the files that were read, in order
	Warnings   []string // things that are allowed but probably not meant, each with its position
}

// Job is one source subvolume, its schedule, its retention and its destinations.
type Job struct {
	Name          string   // [A-Za-z0-9][A-Za-z0-9_.-]{0,63}: it names a lock file
	Source        string   // absolute, clean; or ssh://user@host:port/path, and then SnapshotDir is a path there
	Sources       []string // of a group, which stands for several jobs: absolute paths, patterns of path.Match, ssh:// urls. Source and SnapshotDir are empty; see Member
	Group         string   // the name of the group that the job is a member of
	Matched       bool     // a pattern of the group has found it: somebody else may have put it there
	SnapshotDir   string   // absolute, clean; default <source>/.btrkeep
	NameFormat    NameFormat
	Schedule      Schedule // zero value: never by itself, only by `btrkeep run`
	Jitter        Duration
	CatchUp       bool   // default true
	Window        Window // when the daemon may begin a task; zero value: at any time
	OnlyOnAC      bool   // the daemon begins nothing while the machine runs on battery
	InhibitSleep  bool   // the machine is kept from going to sleep during a run
	OnlyIfChanged bool
	IOClass       IOClass  // default idle
	Timeout       Duration // 0: none
	Keep          Keep     // at the source; zero value: keep everything
	Verify        Verify
	Drill         Drill
	Hooks         Hooks
	Notify        Notify
	StallTimeout  Duration      // how long nothing may come through the line to another machine; default 10 min
	Received      string        // instead of a source and destinations: a directory of this machine in which others keep backups, and may delete none. SnapshotDir is the same
	Adhoc         bool          // not from a file: made by Adhoc
	Destinations  []Destination // sorted by name; at least one. That of Received is the directory itself, and has the name ReceivedName
}

// ReceivedName is what a job with Received calls the directory where a destination is named.
const ReceivedName = "received"

// Destination is one place that receives copies of a job's snapshots.
type Destination struct {
	Name         string   // "default" for `destination = "…"`
	URL          string   // as written; a local path is absolute and clean
	RequireMount string   // "" = the directory must be on another file system than the source
	MaxAge       Duration // older than this it is stale; 0: never
	Keep         Keep     // default: the job's Keep
	RateLimit    Rate
	EncryptTo    []string
}

// Local reports whether the destination is a directory of this machine.
func (d Destination) Local() bool { return len(d.URL) > 0 && d.URL[0] == '/' }

// Remote reports whether the source is on another machine.
func (j Job) Remote() bool { return isSSH(j.Source) }

// SourcePath is the path of the source on its machine.
func (j Job) SourcePath() string { return pathOf(j.Source) }

// SnapshotPlace tells the snapshot directory from those of all other jobs: it is a path, with the machine before it if that is another one.
func (j Job) SnapshotPlace() string { return at(j.Source, j.SnapshotDir) }

// Checkpoint says how often a transfer can be resumed from.
type Checkpoint struct {
	Bytes Size     // default 1 GiB
	Time  Duration // default 60 s
}

// Hooks are programs that run at points of a run. Each is one argv: an absolute path and its
// arguments, started without a shell; nil for none.
type Hooks struct {
	BeforeSnapshot, AfterSnapshot, OnSuccess, OnFailure []string
}

// Dir is the drop-in directory of a configuration file: conf.d beside it.
// Load reads its *.toml in byte order of their names.
const Dir = "conf.d"

// DefaultPath is the file read when no other is named.
const DefaultPath = "/etc/btrkeep/btrkeep.toml"

// DefaultSnapshotDir is where a job's snapshots go inside its source, unless snapshot_dir says otherwise.
const DefaultSnapshotDir = ".btrkeep"
