package metrics_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report/metrics"
)

const dashboardFile = "../../packaging/grafana/kubecertd.json"

// asked is one query of the dashboard.
type asked struct{ panel, expr string }

// dashboard reads it, with its variables as a person would have chosen them.
func dashboard(t *testing.T, instance string) []asked {
	t.Helper()
	content, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Panels []struct {
			ID                       int
			Type, Title, Description string
			GridPos                  struct{ X, Y, W, H int }
			Targets                  []struct{ Expr string }
		}
		Templating struct {
			List []struct {
				Name  string
				Query any
			}
		}
	}
	if err := json.Unmarshal(content, &file); err != nil {
		t.Fatalf("%s: %v", dashboardFile, err)
	}
	variables := map[string]bool{"__rate_interval": true}
	for _, v := range file.Templating.List {
		variables[v.Name] = true
	}
	if !variables["instance"] || !variables["datasource"] {
		t.Errorf("the dashboard has the variables %v", variables)
	}
	var queries []asked
	ids, taken := map[int]bool{}, map[[2]int]string{}
	rows := 0
	for _, p := range file.Panels {
		if ids[p.ID] {
			t.Errorf("%s has the id of another panel", p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s lies upon %s, or beyond the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			rows++
			continue
		}
		if p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("%s says nothing of itself, or asks nothing", p.Title)
		}
		for _, q := range p.Targets {
			for _, v := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(q.Expr, -1) {
				if !variables[v[1]] {
					t.Errorf("%s uses the variable %s, which is not there", p.Title, v[1])
				}
			}
			queries = append(queries, asked{p.Title, strings.NewReplacer("$__rate_interval", "1m", "$instance", instance).Replace(q.Expr)})
		}
	}
	if rows != 2 || len(queries) < 20 {
		t.Fatalf("%d rows and %d queries were read", rows, len(queries))
	}
	return queries
}

// What the dashboard reads is given out, by the labels and values that it asks for.
func TestDashboardReadsWhatIsGivenOut(t *testing.T) {
	name := regexp.MustCompile(`\b(?:kubecertd|x509)_[a-z0-9_]+`)
	matcher := regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"([^"]*)"`)
	grouped := regexp.MustCompile(`\bby \(([^)]*)\)`)
	given := exposition(t, full())
	for _, q := range dashboard(t, "cp1") {
		labels := []string{"instance", "__name__", "le"}
		names := name.FindAllString(q.expr, -1)
		for _, n := range names {
			i := slices.IndexFunc(metrics.Families, func(f metrics.Family) bool {
				return f.Name == n || f.Type == metrics.Histogram && f.Name+"_bucket" == n
			})
			if i < 0 {
				t.Errorf("%s reads %s, which nobody gives out", q.panel, n)
				continue
			}
			labels = append(labels, metrics.Families[i].Labels...)
		}
		if len(names) == 0 {
			t.Errorf("%s reads no metric: %s", q.panel, q.expr)
		}
		for _, m := range matcher.FindAllStringSubmatch(q.expr, -1) {
			if !slices.Contains(labels, m[1]) {
				t.Errorf("%s reads the label %s, which %s has not", q.panel, m[1], q.expr)
			} else if m[1] != "instance" && m[1] != "__name__" && !strings.Contains(given, m[1]+`="`+m[2]+`"`) {
				t.Errorf("%s reads %s, which nobody gives out", q.panel, m[0])
			}
		}
		for _, g := range grouped.FindAllStringSubmatch(q.expr, -1) {
			for label := range strings.SplitSeq(g[1], ",") {
				if !slices.Contains(labels, strings.TrimSpace(label)) {
					t.Errorf("%s groups by %s, which %s has not", q.panel, label, q.expr)
				}
			}
		}
	}
}

// Every query is one that Prometheus understands.
func TestDashboardByPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("there is no promtool on this host (tools/install-deps.sh installs it): the queries of the dashboard are not checked by Prometheus")
	}
	type record struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var records []record
	for i, q := range dashboard(t, "cp1") {
		records = append(records, record{fmt.Sprintf("query_%d", i), q.expr})
	}
	content, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": records}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

// healthy is a look at a node where nothing is to be done.
func healthy(t *testing.T) renew.Look {
	t.Helper()
	o := look().Observation
	for i, c := range o.Certificates {
		if c.State == pki.Expired {
			o.Certificates[i].State, o.Certificates[i].NotAfter, o.Certificates[i].Changed = pki.OK, now.Add(300*day), now.Add(-3*time.Hour)
		}
	}
	o.Certificates = slices.DeleteFunc(o.Certificates, func(c pki.Certificate) bool { return c.State == pki.Invalid })
	for i := range o.Components {
		o.Components[i].Started = now // after everything was written
	}
	o.Failures, o.Problems, o.Clock = nil, nil, renew.Clock{}
	o.Served[0].SHA256, o.Served[0].NotAfter = "apiserver", now.Add(300*day)
	o.Components = append(o.Components, renew.Component{Name: renew.Kubelet, Running: true, Started: now})
	l := renew.Look{Observation: o, Proofs: renew.Prove(o), Plan: renew.Decide(o, renew.Policy{Before: day}, renew.Wish{}), Window: true}
	if stale := l.Stale(); l.Plan.Work() || len(l.Plan.Blocked) > 0 || len(stale) > 0 {
		t.Fatalf("it is not healthy: %v, %v, %v, stale %v", l.Plan.Renew, l.Plan.Restart, l.Plan.Blocked, stale)
	}
	return l
}

// Prometheus scrapes a healthy node that has had no run, and has an answer to every query:
// an empty panel looks like a dashboard that is broken.
func TestDashboardIsNeverEmpty(t *testing.T) {
	prometheus, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("there is no prometheus on this host (tools/install-deps.sh installs it): the queries of the dashboard are not tried")
	}
	m := metrics.New(options)
	m.Looked(healthy(t))
	node := httptest.NewServer(metrics.Server{Metrics: m}.Handler())
	defer node.Close()
	instance := strings.TrimPrefix(node.URL, "http://")

	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- job_name: kubecertd\n  static_configs: [{targets: ['"+instance+"']}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	port, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := port.Addr().String()
	if err := port.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, prometheus, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=warn")
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 20 * time.Second
	said, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout, command.Stderr = said, said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = command.Wait() // it was told to end
		if t.Failed() {
			log, _ := os.ReadFile(said.Name())
			t.Logf("prometheus said:\n%s", log)
		}
		_ = said.Close()
	}()
	await(ctx, t, address, `count_over_time(up{job="kubecertd"}[1m]) >= 3`)
	for _, q := range dashboard(t, instance) {
		if n, err := query(ctx, address, q.expr); err != nil || n == 0 {
			t.Errorf("%s has %d answers (%v): %s", q.panel, n, err, q.expr)
		}
	}
}

// await waits until a query has an answer.
func await(ctx context.Context, t *testing.T, address, expr string) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := query(ctx, address, expr)
		if n > 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s has no answer: %v", expr, err)
		case <-tick.C:
		}
	}
}

// query asks Prometheus, and says how many series have an answer.
func query(ctx context.Context, address, expr string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/api/v1/query?query="+url.QueryEscape(expr), nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.Unmarshal(content, &answer); err != nil {
		return 0, err
	}
	if answer.Status != "success" {
		return 0, fmt.Errorf("%s: %s", response.Status, answer.Error)
	}
	return len(answer.Data.Result), nil
}
