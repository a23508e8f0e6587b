package metrics_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report/metrics"
)

var update = flag.Bool("update", false, "write what is given out now into testdata and docs")

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// options are those of the tests.
var options = metrics.Options{Version: "1.2.3", Interval: time.Hour}

// look is a look at a node with something of every kind.
func look() renew.Look {
	certificate := func(name string, kind pki.Kind, renewer pki.Renewer, ca string, state pki.State, left time.Duration) pki.Certificate {
		return pki.Certificate{Name: name, Kind: kind, Renewer: renewer, CA: ca, Path: "/etc/kubernetes/" + name, State: state, Serial: "1f", CAKeyHere: true,
			Subject: "CN=" + name + ",O=system:masters", Issuer: "CN=kubernetes",
			NotAfter: now.Add(left), NotBefore: now.Add(left - 365*day), Changed: now.Add(-time.Hour), SHA256: name}
	}
	o := renew.Observation{At: now, ControlPlane: true,
		Certificates: []pki.Certificate{
			certificate("admin.conf", pki.Kubeconfig, pki.Kubeadm, "ca", pki.OK, 300*day),
			certificate("apiserver", pki.PEM, pki.Kubeadm, "ca", pki.Expired, -day),
			certificate("scheduler.conf", pki.Kubeconfig, pki.Kubeadm, "ca", pki.OK, 20*day),
			{Name: "super-admin.conf", Kind: pki.Kubeconfig, Renewer: pki.Kubeadm, Optional: true, State: pki.Missing, Path: "/etc/kubernetes/super-admin.conf"},
			certificate("ca", pki.CA, pki.Nobody, "", pki.OK, 3000*day),
			{Name: pki.Loopback, Kind: pki.Memory, Renewer: pki.Restart, Component: renew.APIServer, Address: "127.0.0.1:6443",
				State: pki.OK, SHA256: "x", NotBefore: now.Add(-195 * day), NotAfter: now.Add(200 * day)},
			{Name: pki.SchedulerServing, Kind: pki.Memory, Renewer: pki.Restart, Component: renew.Scheduler, State: pki.Unknown},
			{Name: "/etc/ssl/shop.pem", Path: "/etc/ssl/shop.pem", Kind: pki.PEM, Renewer: pki.Nobody, Watched: true, State: pki.OK,
				Serial: "2a", Subject: "CN=shop\\, the,O=a+b", Issuer: "CN=it", NotBefore: now.Add(-day), NotAfter: now.Add(60 * day)},
			{Name: "/etc/ssl/broken.pem", Path: "/etc/ssl/broken.pem", Kind: pki.PEM, Renewer: pki.Nobody, Watched: true, State: pki.Invalid},
		},
		Components: []renew.Component{
			{Name: renew.APIServer, Running: true, Started: now.Add(-time.Minute)},
			{Name: renew.Scheduler, Running: true, Started: now.Add(-2 * time.Hour)},
		},
		Served: []pki.Served{
			{Endpoint: pki.Endpoint{Component: renew.APIServer, Name: "apiserver", Certificate: "apiserver"}, SHA256: "y", NotAfter: now.Add(-day)},
			{Endpoint: pki.Endpoint{Component: renew.Etcd, Name: "etcd-server", Certificate: "etcd-server"}, Error: "no answer"}},
		Failures: map[string]renew.Failure{"renew apiserver": {Count: 2}, "restart kube-scheduler": {Count: 1}, "copy /root/.kube/config": {Count: 1}},
		Clock:    renew.Clock{Unkept: "no time server keeps this host's clock"},
		Problems: []renew.Problem{{What: "kubelet", Err: "no bus"}},
	}
	o.Certificates[0].User = "kubernetes-admin"
	l := renew.Look{Observation: o, Proofs: renew.Prove(o), Plan: renew.Decide(o, renew.Policy{Before: 30 * day}, renew.Wish{}), Window: true, Owes: true}
	l.Plan.Blocked = []renew.Gate{{Name: "component etcd"}, {Name: "turn"}}
	l.Plan.Paused = &renew.Pause{Until: now.Add(time.Hour)}
	l.Plan.Turn = &renew.SeenTurn{Turn: renew.Turn{Held: renew.Held{Holder: "cp2", Since: now.Add(-time.Hour), Failed: "etcd did not come back"}}}
	l.Plan.Notices = append(l.Plan.Notices, renew.Notice{ID: renew.NoticeHeld}, renew.Notice{ID: renew.NoticeRestartFailed, About: renew.Scheduler, At: now.Add(time.Minute)})
	return l
}

// run is a run in which some things went well.
func run() renew.Run {
	step := func(after time.Duration, step, event, reason, problem string) renew.Entry {
		return renew.Entry{Time: now.Add(after), Step: step, Event: event, Reason: reason, Error: problem}
	}
	return renew.Run{ID: "20260301T120000.000Z-abcdef", Trigger: "timer", Began: now, Ended: now.Add(30 * time.Second), Outcome: renew.Failed, Entries: []renew.Entry{
		step(0, "run", "begin", "timer", ""),
		step(1, "renew apiserver", "begin", "due", ""),
		step(2, "renew apiserver", "end", "", ""),
		step(3, "renew scheduler.conf", "begin", "due", ""),
		step(4, "renew scheduler.conf", "end", "", ""),
		step(5, "renew scheduler.conf", "end", "", "the API server refuses it"), // by the preflight
		step(6, "put back scheduler.conf", "begin", "", ""),
		step(7, "put back scheduler.conf", "end", "", ""),
		step(time.Second, "restart kube-apiserver", "begin", "", ""),
		step(4*time.Second, "restart kube-apiserver", "end", "", ""),
		step(5*time.Second, "restart kube-controller-manager", "end", renew.ByItself, ""),
		step(6*time.Second, "restart kube-scheduler", "begin", "", ""),
		step(30*time.Second, "restart kube-scheduler", "end", "", "it did not come back"),
		step(30*time.Second, "run", "end", "", "kube-scheduler did not come back"),
	}}
}

// exposition is what Prometheus reads.
func exposition(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	families, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// golden compares with what is on disk, or writes it there.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what is given out now; go test ./report/metrics -update writes it (-want +got)\n%s", file, diff)
	}
}

// full are metrics with everything in them.
func full() *metrics.Metrics {
	o := options
	o.X509 = true
	m := metrics.New(o)
	m.Looked(look())
	m.Ran(run())
	return m
}

func TestExposition(t *testing.T) {
	got := exposition(t, full())
	var lines []string
	for line := range strings.Lines(got) {
		if i := strings.Index(line, `goversion="`); i >= 0 {
			line = line[:i] + "goversion=\"go\",version=\"1.2.3\"} 1\n"
		}
		lines = append(lines, line)
	}
	golden(t, "testdata/exposition.txt", strings.Join(lines, ""))
	families, _ := full().Gather()
	for _, f := range metrics.Families {
		if !slices.ContainsFunc(families, func(g *dto.MetricFamily) bool { return g.GetName() == f.Name }) {
			t.Errorf("nothing shows %s: it is not in the golden file", f.Name)
		}
	}
}

// Before the first look nothing is claimed.
func TestBeforeTheFirstLook(t *testing.T) {
	families, err := metrics.New(options).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	if diff := cmp.Diff([]string{"kubecertd_build_info", "kubecertd_look_interval_seconds", "kubecertd_runs_total"}, names); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The series of a certificate and of a static pod that are gone are gone, those of what
// could not be seen are not.
func TestVanished(t *testing.T) {
	m := full()
	l := look()
	const foreign = "haproxy"
	l.Observation.Components = append(l.Observation.Components, renew.Component{Name: foreign, Running: true})
	m.Looked(l)
	gone := look()
	gone.Observation.Certificates = slices.DeleteFunc(gone.Observation.Certificates, func(c pki.Certificate) bool { return c.Name == "scheduler.conf" })
	gone.Observation.Components = nil
	gone.Plan = renew.Decide(gone.Observation, renew.Policy{Before: 30 * day}, renew.Wish{})
	gone.Proofs, gone.Observation.Failures = nil, nil
	m.Looked(gone)
	for _, name := range []string{"scheduler.conf", foreign} {
		if !strings.Contains(exposition(t, m), name) {
			t.Errorf("the counters of %s are gone although not everything could be seen", name)
		}
	}
	gone.Observation.Problems = nil
	m.Looked(gone)
	text := exposition(t, m)
	for _, name := range []string{"scheduler.conf", foreign, "cp2"} {
		if want := name == "cp2"; strings.Contains(text, name) && !want {
			t.Errorf("%s is still there:\n%s", name, text)
		}
	}
	if strings.Contains(text, "kubecertd_turn_") || strings.Contains(text, "kubecertd_pause_end") {
		t.Errorf("what the look before has seen is still there:\n%s", text)
	}
	// One that is down is not gone: the count of its restarts is what an alarm reads.
	if !strings.Contains(text, `kubecertd_component_restarts_total{component="kube-scheduler",result="failed"} 1`) {
		t.Errorf("the counters of a component that is down are gone:\n%s", text)
	}
}

// No label may have a value for each certificate that ever was, each run, or each error.
func TestLabelsAreBounded(t *testing.T) {
	m := metrics.New(options)
	m.Looked(look())
	m.Ran(run())
	bounded := []string{"version", "goversion", "name", "kind", "path", "ca", "state", "component", "endpoint", "verdict", "gate", "holder", "outcome", "result"}
	families, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "x509_") {
			t.Errorf("%s is there although nobody asked for it", f.GetName())
		}
		for _, metric := range f.GetMetric() {
			for _, l := range metric.GetLabel() {
				if !slices.Contains(bounded, l.GetName()) {
					t.Errorf("%s has a label %s: are its values bounded?", f.GetName(), l.GetName())
				}
			}
		}
	}
	if text := exposition(t, m); strings.Contains(text, run().ID) || strings.Contains(text, "did not come back") {
		t.Errorf("a run's id or an error is among:\n%s", text)
	}
}

// A scrape gets what the last look left, and makes nothing of its own.
func TestScrapeOnlyShows(t *testing.T) {
	m := full()
	one, err := m.Gather()
	two, _ := m.Gather()
	if err != nil || &one[0] != &two[0] {
		t.Error("a scrape collects")
	}
	m.Looked(look())
	if three, _ := m.Gather(); &one[0] == &three[0] {
		t.Error("a look is not shown")
	}
}

// What is odd about one certificate costs no other its series.
func TestOddNames(t *testing.T) {
	l := look()
	odd := l.Observation.Certificates[7]
	odd.Name, odd.Path = "/etc/ssl/\xff.pem", "/etc/ssl/\xff.pem"
	l.Observation.Certificates = append(l.Observation.Certificates, odd, l.Observation.Certificates[0])
	o := options
	o.X509 = true
	m := metrics.New(o)
	m.Looked(l)
	text := exposition(t, m)
	for _, want := range []string{`path="/etc/ssl/�.pem"`, `filepath="/etc/ssl/�.pem"`, `name="admin.conf"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in:\n%s", want, text)
		}
	}
}

// Thousands of watched files must not become thousands of series: those that end first do.
func TestManyWatched(t *testing.T) {
	l := look()
	for i := range 2000 {
		c := pki.Certificate{Name: filepath.Join("/srv", time.Duration(i).String()), Watched: true, State: pki.OK, NotAfter: now.Add(time.Duration(5000-i) * time.Hour)}
		l.Observation.Certificates = append(l.Observation.Certificates, c)
	}
	m := metrics.New(options)
	m.Looked(l)
	text := exposition(t, m)
	if n := strings.Count(text, "kubecertd_watched_certificate_expiration_timestamp_seconds{"); n != 500 {
		t.Errorf("%d series, want 500", n)
	}
	if !strings.Contains(text, `{path="/srv/1.999µs"}`) || strings.Contains(text, `{path="/srv/0s"}`) {
		t.Error("it is not those that end first")
	}
	if !strings.Contains(text, `kubecertd_watched_certificates{state="ok"} 2001`) {
		t.Error("they are not all counted")
	}
}

// realLook is a look at the files of a whole node.
func realLook(t testing.TB) renew.Look {
	t.Helper()
	files := pkitest.New(t, time.Now().Add(-time.Hour))
	layout, problems := pki.Locate(pki.Options{Root: files.Root})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	o := renew.Observation{At: time.Now(), ControlPlane: true, Certificates: layout.Read(time.Now())}
	for _, name := range renew.Order {
		o.Components = append(o.Components, renew.Component{Name: name, Running: true, Started: time.Now()})
	}
	return renew.Look{Observation: o, Proofs: renew.Prove(o), Plan: renew.Decide(o, renew.Policy{Before: 30 * day}, renew.Wish{})}
}

// The family of x509-certificate-exporter has its labels: serial numbers in decimal, the
// user of a kubeconfig, and the common names.
func TestX509OfARealNode(t *testing.T) {
	l := realLook(t)
	o := l.Observation
	settings := options
	settings.X509 = true
	m := metrics.New(settings)
	m.Looked(l)
	families, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]map[string]string{}
	for _, f := range families {
		if f.GetName() != "x509_cert_not_after" {
			continue
		}
		for _, metric := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range metric.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			got[labels["filepath"]] = labels
		}
	}
	for _, tt := range []struct{ name, filename, kind, key string }{
		{"apiserver", "apiserver.crt", "", ""},
		{"admin.conf", "admin.conf", "user", "user"}, // as pkitest calls it
		{"etcd-ca", "ca.crt", "", ""},
	} {
		c, here := o.Certificate(tt.name)
		if !here || c.Leaf == nil {
			t.Fatalf("%s is not there", tt.name)
		}
		want := map[string]string{"filename": tt.filename, "filepath": c.Path, "embedded_kind": tt.kind, "embedded_key": tt.key,
			"serial_number": c.Leaf.SerialNumber.String(), "subject_CN": c.Leaf.Subject.CommonName, "issuer_CN": c.Leaf.Issuer.CommonName}
		if diff := cmp.Diff(want, got[c.Path]); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, diff)
		}
		if tt.key != c.User {
			t.Errorf("the user of %s is %q, want %q", tt.name, c.User, tt.key)
		}
	}
}
