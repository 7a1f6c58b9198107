package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type grafana struct {
	Title, UID string
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct {
			Expr       string
			RefID      string
			Datasource struct{ UID string }
		}
	}
}

func panels(t *testing.T) grafana {
	t.Helper()
	var g grafana
	if err := json.Unmarshal([]byte(read(t, dashboard)), &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// Grafana can be neither asked nor installed here, so the dashboard is held against what its format demands, and its queries against Prometheus's own parser.
func TestDashboard(t *testing.T) {
	g := panels(t)
	if g.Title != "btrkeep" || g.UID == "" || len(g.Panels) < 10 {
		t.Fatalf("%+v", g)
	}
	var variables []string
	for _, v := range g.Templating.List {
		variables = append(variables, "$"+v.Name)
		if m := regexp.MustCompile(`label_values\((\w+)`).FindStringSubmatch(v.Definition); v.Type == "query" && (m == nil || known(t)[m[1]].kind == "") {
			t.Errorf("variable %s: %s", v.Name, v.Definition)
		}
	}
	ids := map[int]bool{}
	taken := map[[2]int]string{}
	var queries bytes.Buffer
	queries.WriteString("groups: [{name: dashboard, rules: [\n")
	for _, p := range g.Panels {
		if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d, %q: no title, no query, or the number of another", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s is outside", p.Title)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := taken[at]; other != "" {
					t.Fatalf("%s lies over %s", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("%s has a data source of its own: %s", p.Title, target.Datasource.UID)
			}
			for _, v := range regexp.MustCompile(`\$\w+`).FindAllString(target.Expr, -1) {
				if v != "$__rate_interval" && !slices.Contains(variables, v) {
					t.Errorf("%s: nothing sets %s", p.Title, v)
				}
			}
			expr, err := json.Marshal(strings.ReplaceAll(target.Expr, "$__rate_interval", "1h"))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&queries, "{record: \"panel:%d:%s\", expr: %s},\n", p.ID, strings.ToLower(target.RefID), expr)
		}
	}
	queries.WriteString("]}]\n")
	path := filepath.Join(t.TempDir(), "dashboard.rules.yml")
	if err := os.WriteFile(path, queries.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", path)
}
