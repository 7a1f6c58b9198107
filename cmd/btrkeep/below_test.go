package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/config"
)

func TestJobsBelow(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "usb"), link); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "usb"), 0o755); err != nil {
		t.Fatal(err)
	}
	job := func(name string, urls ...string) config.Job {
		j := config.Job{Name: name}
		for _, url := range urls {
			j.Destinations = append(j.Destinations, config.Destination{URL: url})
		}
		return j
	}
	list := []config.Job{
		job("itself", dir+"/usb"),
		job("beside", dir+"/usb2/home"),
		job("second", "ssh://nas/x", dir+"/usb/not/yet/made"),
		job("linked", link+"/home"),
		job("far", "ssh://nas"+dir+"/usb/home"),
		job("none"),
	}
	for below, want := range map[string][]string{
		dir + "/usb":      {"itself", "second", "linked"},
		dir + "/usb/":     {"itself", "second", "linked"},
		link:              {"itself", "second", "linked"},
		dir + "/usb/home": {"linked"},
		"/":               {"itself", "beside", "second", "linked"},
		dir + "/other":    nil,
	} {
		found, err := jobsBelow(list, below)
		var got []string
		for _, j := range found {
			got = append(got, j.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (want != nil) {
			t.Errorf("below %s: %v\n%s", below, err, diff)
		}
	}
}
