package metrics

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

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
	all := map[string]metric{}
	for _, f := range parse(t, m.text()) {
		one := metric{kind: strings.ToLower(f.GetType().String()), help: f.GetHelp()}
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

// parse reads an exposition as Prometheus's own library does.
func parse(t *testing.T, text []byte) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return families
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
	if out := promtool(t, string(m.text()), "check", "metrics"); out != "" {
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
