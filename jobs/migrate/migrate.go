// Package migrate writes configurations for btrkeep: from those of other tools, so that what they have made is gone on with, and from what a machine has.
//
// It reads and reports; nothing on a disk is changed. What cannot be translated is never left out silently: it is a [Note], and a comment in the text.
// Snapshots and backups are taken over as they lie: directories that one job has for itself are used as they are; those that several share are left to the other tool's snapshots and
// backups, which the first run finds as parents by their UUIDs, at the source anywhere on the file system, at the destination in the directories above its own.
package migrate

import (
	"fmt"

	"github.com/btrkeep/btrkeep/config"
)

// Config is a configuration to be written.
type Config struct {
	Head     []string // lines of the comment at the top
	Defaults *Job     // nil: none
	Jobs     []Job
	Notes    []Note // what was not translated, or means something else now, in the order of lines
}

// Note is something that a person should know of a line that was read.
type Note struct {
	File string `json:"file"` // "" where it is of none
	Line int    `json:"line"` // from 1; 0 where none is meant
	Text string `json:"text"`
}

func (n Note) String() string {
	switch {
	case n.File == "":
		return n.Text
	case n.Line == 0:
		return n.File + ": " + n.Text
	}
	return fmt.Sprintf("%s:%d: %s", n.File, n.Line, n.Text)
}

// Job is a job to be written. Keys that are zero are left out.
type Job struct {
	Name          string
	Comment       []string // above it
	Off           string   // why it is commented out; "" if it is not
	Source        string
	Sources       []string // instead, of a group
	SnapshotDir   string
	NameFormat    string
	Schedule      string
	OnlyIfChanged bool
	Keep          Keep
	Destinations  []Destination
}

// Destination is one of a job's.
type Destination struct {
	Name         string
	Comment      []string
	Off          string // why it is commented out
	URL          string
	RequireMount string
	MaxAge       string
	Keep         Keep
	RateLimit    string
}

// Keep is retention as another tool says it.
type Keep struct {
	config.Keep        // of All it is zero
	All         bool   // keep everything
	Said        string // how the other tool said it, for the comment
}

// active reports whether there is a destination that is not commented out.
func (j Job) active() bool {
	for _, d := range j.Destinations {
		if d.Off == "" {
			return true
		}
	}
	return false
}
