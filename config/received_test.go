package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReceived(t *testing.T) {
	c := loadText(t, `
[defaults]
schedule = "@daily"
only_if_changed = true
destination = "/mnt/backup"
drill = { schedule = "@monthly" }

[jobs.alice]
received = "/srv/backup/alice/"
timeout = "1h"
keep = { daily = 7 }
`)
	want := []Job{{
		Name:         "alice",
		Received:     "/srv/backup/alice",
		SnapshotDir:  "/srv/backup/alice",
		Schedule:     mustSchedule(t, "@daily"),
		CatchUp:      true,
		IOClass:      IOClass{Class: 3},
		Timeout:      Duration(time.Hour),
		StallTimeout: Duration(10 * time.Minute),
		Keep:         Keep{Daily: 7},
		Destinations: []Destination{{Name: "received", URL: "/srv/backup/alice", Keep: Keep{Daily: 7}}},
	}}
	if diff := cmp.Diff(want, c.Jobs); diff != "" || len(c.Warnings) > 0 {
		t.Error(diff, c.Warnings)
	}
}

func TestRemoteSource(t *testing.T) {
	for source, path := range map[string]string{
		"ssh://root@web1/srv":           "/srv",
		"ssh://web1:2222/srv/with%20it": "/srv/with it",
		"ssh://web1/":                   "/",
		"/ssh://web1":                   "/ssh:/web1",
	} {
		j := loadText(t, "[jobs.a]\nkeep = { last = 1 }\ndestination = \"/mnt/a\"\nsource = \""+source+"\"").Jobs[0]
		if remote := source[0] != '/'; j.Remote() != remote || j.SourcePath() != path || remote && j.Source != source {
			t.Errorf("%q: %t, %q, %q", source, j.Remote(), j.SourcePath(), j.Source)
		}
		if want := loadText(t, "[jobs.a]\nkeep = { last = 1 }\ndestination = \"/mnt/a\"\nsource = \""+path+"\"").Jobs[0].SnapshotDir; j.SnapshotDir != want {
			t.Errorf("%q has its snapshots in %q", source, j.SnapshotDir)
		}
	}
}
