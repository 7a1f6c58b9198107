package config

import (
	"strings"
	"testing"
)

func TestMember(t *testing.T) {
	group := Job{Name: "machines", Sources: []string{"/var/lib/machines/*"}, Destinations: []Destination{{URL: "/mnt/b"}, {URL: "ssh://nas/srv/b"}}}
	long := strings.Repeat("ä", 120)
	for source, want := range map[string][4]string{
		"/var/lib/machines/web":  {"machines:web", "/var/lib/machines/web/.btrkeep", "/mnt/b/web", "ssh://nas/srv/b/web"},
		"/srv/a b:c":             {"machines:a%20b%3Ac", "/srv/a b:c/.btrkeep", "/mnt/b/a b:c", "ssh://nas/srv/b/a%20b:c"},
		"/":                      {"machines:root", "/.btrkeep", "/mnt/b/root", "ssh://nas/srv/b/root"},
		"ssh://root@web/srv/www": {"machines:www", "/srv/www/.btrkeep", "/mnt/b/www", "ssh://nas/srv/b/www"},
	} {
		m := group.Member(source)
		got := [4]string{m.Name, m.SnapshotDir, m.Destinations[0].URL, m.Destinations[1].URL}
		if got != want || m.Source != source || m.Group != "machines" || m.IsGroup() {
			t.Errorf("%s: %q, %+v", source, got, m)
		}
		for _, d := range m.Destinations {
			if clean, err := cleanURL(d.URL); err != nil || clean != d.URL {
				t.Errorf("%s: %v", d.URL, err)
			}
		}
	}
	if group.Destinations[0].URL != "/mnt/b" {
		t.Error("the group was changed")
	}
	if a, b := group.Member("/x/"+long), group.Member("/x/"+long+"ö"); a.Name == b.Name || len(a.Name) > 120 {
		t.Errorf("%q %q", a.Name, b.Name)
	}
}
