package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/btrkeep/btrkeep/jobs"
)

const (
	rules     = "../../contrib/prometheus/btrkeep.rules.yml"
	rulesTest = "../../contrib/prometheus/*.test.yml"
	dashboard = "../../contrib/grafana/btrkeep.json"
	page      = "../../docs/metrics.md"
)

// metric is what there is of a name.
type metric struct {
	kind   string
	labels []string
	help   string
}

// known are all metrics: those of jobs in every state.
func known(t *testing.T) map[string]metric {
	t.Helper()
	m, _ := newMetrics(t, noon)
	m.Configured(everything(t))
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]metric{}
	for _, f := range families {
		one := metric{kind: strings.ToLower(dto.MetricType_name[int32(f.GetType())]), help: f.GetHelp()}
		for _, l := range f.GetMetric()[0].GetLabel() {
			one.labels = append(one.labels, l.GetName())
		}
		slices.Sort(one.labels)
		all[f.GetName()] = one
	}
	if len(all) < 30 {
		t.Fatalf("%d metrics only", len(all))
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// promtool must end well.
func promtool(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		if os.Geteuid() == 0 {
			t.Fatalf("%v: `make test` installs it", err)
		}
		t.Skip(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestPromtool(t *testing.T) {
	m, _ := newMetrics(t, noon)
	m.Configured(everything(t))
	if out := promtool(t, text(t, m.registry), "check", "metrics"); out != "" {
		t.Errorf("promtool check metrics: %s", out)
	}
	promtool(t, "", "check", "rules", rules)
	promtool(t, "", append([]string{"test", "rules"}, ruleTests(t)...)...)
}

func ruleTests(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(rulesTest)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return files
}

// Every alert of the rules fires in their tests.
func TestEveryAlertIsTested(t *testing.T) {
	tests := ""
	for _, path := range ruleTests(t) {
		tests += read(t, path)
	}
	alerts := regexp.MustCompile(`(?m)^      - alert: (\w+)$`).FindAllStringSubmatch(read(t, rules), -1)
	if len(alerts) < 10 {
		t.Fatalf("%d alerts", len(alerts))
	}
	for _, a := range alerts {
		if !regexp.MustCompile(`alertname: ` + a[1] + `\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels`).MatchString(tests) {
			t.Errorf("no test in which %s fires", a[1])
		}
	}
}

// expressions are the queries of the rules and of the dashboard, each with where it is.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for n, part := range strings.Split(read(t, rules), "- alert: ")[1:] {
		_, expr, _ := strings.Cut(part, "expr:")
		expr, _, _ = strings.Cut(expr, "labels:")
		all[fmt.Sprintf("rule %d", n+1)] = strings.TrimPrefix(strings.TrimSpace(expr), "|")
	}
	for _, p := range panels(t).Panels {
		for _, target := range p.Targets {
			all["panel "+p.Title+" "+target.RefID] = target.Expr
		}
	}
	return all
}

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

// Whatever the rules and the dashboard name is there: metrics, labels, kinds and results.
func TestNamesExist(t *testing.T) {
	all := known(t)
	names, matchers := regexp.MustCompile(`\bbtrkeep_\w+`), regexp.MustCompile(`(\w+)=~?"([^"]*)"`)
	values := map[string][]string{
		kindLabel:        {jobs.ProblemStale, jobs.ProblemFailing, jobs.ProblemVerify, jobs.ProblemDrill},
		jobLabel:         {"$btrkeep_job"},
		destinationLabel: {},
		"instance":       {"$instance"},
		"job":            {"btrkeep"},
		"file":           {"(.*/)?btrkeep[.]prom"},
	}
	seen := map[string]bool{}
	for where, expr := range expressions(t) {
		found := false
		for _, name := range names.FindAllString(expr, -1) {
			base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			m, ok := all[base]
			if ok && (base == name) == (m.kind == "histogram") {
				t.Errorf("%s: %s is a %s", where, name, m.kind)
			}
			if name != jobLabel && !ok {
				t.Errorf("%s: there is no %s", where, name)
			}
			found, seen[base] = found || ok, true
		}
		if !found {
			t.Errorf("%s asks for nothing of ours: %s", where, expr)
		}
		for _, m := range matchers.FindAllStringSubmatch(expr, -1) {
			if allowed, ok := values[m[1]]; !ok || !slices.Contains(allowed, m[2]) {
				t.Errorf("%s: nothing has %s", where, m[0])
			}
		}
	}
	for name := range all {
		if !seen[name] {
			t.Logf("neither in the rules nor on the dashboard: %s", name)
		}
	}
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

// Every metric is documented as it is: name, type, labels.
func TestDocumented(t *testing.T) {
	all := known(t)
	rows := regexp.MustCompile("(?m)^\\| `(btrkeep_\\w+)` \\| (\\w+) \\| ([^|]*) \\| ([^|]+) \\|$").FindAllStringSubmatch(read(t, page), -1)
	documented := map[string]bool{}
	for _, r := range rows {
		name := r[1]
		documented[name] = true
		m, ok := all[name]
		if !ok {
			t.Errorf("%s is documented and does not exist", name)
			continue
		}
		var labels []string
		for _, l := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(r[3], -1) {
			labels = append(labels, l[1])
		}
		slices.Sort(labels)
		if r[2] != m.kind || !slices.Equal(labels, m.labels) {
			t.Errorf("%s is documented as a %s with %q; it is a %s with %q", name, r[2], labels, m.kind, m.labels)
		}
	}
	for name, m := range all {
		if !documented[name] {
			t.Errorf("not in %s: %s, a %s with %q", page, name, m.kind, m.labels)
		}
	}
	for _, a := range regexp.MustCompile(`(?m)^      - alert: (\w+)$`).FindAllStringSubmatch(read(t, rules), -1) {
		if !strings.Contains(read(t, page), "`"+a[1]+"`") {
			t.Errorf("not in %s: %s", page, a[1])
		}
	}
}
