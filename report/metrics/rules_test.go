package metrics_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kubecertd/kubecertd/report/metrics"
)

const (
	rulesFile   = "../../packaging/prometheus/kubecertd.rules.yaml"
	rulesTests  = "testdata/rules.test.yaml"
	runbook     = "../../docs/runbook.md"
	runbookPage = "https://github.com/kubecertd/kubecertd/blob/main/docs/runbook.md#"
)

// rule is one alert rule.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func rules(t *testing.T) []rule {
	t.Helper()
	content, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []rule `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 10 {
		t.Fatalf("only %d rules were read", len(all))
	}
	return all
}

// Each alert says how severe it is and what to do, and has its entry in the runbook.
func TestRulesSayWhatToDo(t *testing.T) {
	content, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{}
	for _, part := range regexp.MustCompile(`(?m)^## `).Split(string(content), -1)[1:] {
		name, body, _ := strings.Cut(part, "\n")
		entries[name] = body
	}
	alerts := map[string]bool{}
	for _, r := range rules(t) {
		alerts[r.Alert] = true
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s has the severity %q", r.Alert, r.Labels["severity"])
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("%s has no summary", r.Alert)
		}
		// GitHub's anchor of a heading without spaces.
		if want := runbookPage + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("the runbook of %s is %q, want %q", r.Alert, r.Annotations["runbook_url"], want)
		}
		for _, what := range []string{"**It means**", "**kubecertd**", "**You**", "**It is over**"} {
			if !strings.Contains(entries[r.Alert], "\n"+what) {
				t.Errorf("the entry of %s in the runbook has nothing that begins with %s", r.Alert, what)
			}
		}
	}
	for name := range entries {
		if !alerts[name] {
			t.Errorf("the entry %s of the runbook is of no alert", name)
		}
	}
	// What it links to in the other documents is there.
	troubleshooting, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`\(troubleshooting\.md#([a-z0-9-]+)\)`).FindAllStringSubmatch(string(content), -1)
	if len(links) == 0 {
		t.Error("no link to the troubleshooting was found")
	}
	for _, link := range links {
		if !strings.Contains(string(troubleshooting), "\n### "+link[1]+"\n") {
			t.Errorf("the runbook links to %s, which is not in the troubleshooting", link[1])
		}
	}
}

// What a rule reads is given out: a misspelled name would never fire.
func TestRulesReadWhatIsGivenOut(t *testing.T) {
	selector := regexp.MustCompile(`\b((?:kubecertd|x509)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	matcher := regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	given := exposition(t, full())
	found := 0
	for _, r := range rules(t) {
		for _, s := range selector.FindAllStringSubmatch(r.Expr, -1) {
			found++
			i := slices.IndexFunc(metrics.Families, func(f metrics.Family) bool { return f.Name == s[1] })
			if i < 0 {
				t.Errorf("%s reads %s, which nobody gives out", r.Alert, s[1])
				continue
			}
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				if !slices.Contains(metrics.Families[i].Labels, m[1]) {
					t.Errorf("%s reads the label %s of %s, which has none", r.Alert, m[1], s[1])
				}
				for value := range strings.SplitSeq(m[2], "|") {
					// Names of certificates depend on the node.
					if m[1] != "name" && !strings.Contains(given, m[1]+`="`+value+`"`) {
						t.Errorf("%s reads %s=%q of %s, which nobody gives out", r.Alert, m[1], value, s[1])
					}
				}
			}
		}
		for _, l := range regexp.MustCompile(`\$labels\.([a-z_]+)`).FindAllStringSubmatch(r.Annotations["summary"], -1) {
			if l[1] != "instance" && !strings.Contains(given, l[1]+`="`) {
				t.Errorf("%s names the label %s, which nobody gives out", r.Alert, l[1])
			}
		}
	}
	if found < len(rules(t)) {
		t.Errorf("only %d names were found in %d rules", found, len(rules(t)))
	}
}

// Each alert, with each of its severities, is seen to fire and seen to end.
func TestRulesAreTested(t *testing.T) {
	content, err := os.ReadFile(rulesTests)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			Name    string `json:"name"`
			Queries []struct {
				Expr    string `json:"expr"`
				Samples []struct {
					Labels string `json:"labels"`
				} `json:"exp_samples"`
			} `json:"promql_expr_test"`
		} `json:"tests"`
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	fires, ends := map[string]bool{}, map[string]bool{}
	names := regexp.MustCompile(`alertname="(\w+)".*severity="(\w+)"`)
	for _, test := range file.Tests {
		now := map[string]bool{}
		for _, q := range test.Queries {
			if q.Expr != `ALERTS{alertstate="firing"}` {
				t.Errorf("%s asks for %s, which does not see every alert", test.Name, q.Expr)
			}
			before := now
			now = map[string]bool{}
			for _, s := range q.Samples {
				if m := names.FindStringSubmatch(s.Labels); m != nil {
					now[m[1]+" "+m[2]], fires[m[1]+" "+m[2]] = true, true
				}
			}
			for alert := range before {
				ends[alert] = ends[alert] || !now[alert]
			}
		}
	}
	for _, r := range rules(t) {
		if alert := r.Alert + " " + r.Labels["severity"]; !fires[alert] || !ends[alert] {
			t.Errorf("%s: a test sees it fire: %t, and end: %t", alert, fires[alert], ends[alert])
		}
	}
}

// Prometheus itself has the last word.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("there is no promtool on this host (tools/install-deps.sh installs it): what is given out and the alert rules are not checked by Prometheus")
	}
	for _, tt := range []struct {
		name  string
		args  []string
		input string
	}{
		{"check rules", []string{"check", "rules", "--lint=all", "--lint-fatal", rulesFile}, ""},
		{"test rules", []string{"test", "rules", rulesTests}, ""},
		{"check metrics", []string{"check", "metrics"}, exposition(t, full())},
	} {
		t.Run(tt.name, func(t *testing.T) {
			command := exec.CommandContext(t.Context(), promtool, tt.args...)
			command.Stdin = strings.NewReader(tt.input)
			if out, err := command.CombinedOutput(); err != nil {
				t.Errorf("%v:\n%s", err, out)
			}
		})
	}
}
