package metrics_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kubecertd/kubecertd/report/metrics"
)

const intro = `# Metrics

What Prometheus can know of a node. All of it comes from the last look and from the runs of
this daemon, by the same names as in ` + "`kubecertd status`" + `. A scrape reads and dials nothing.
Counters begin at zero when the daemon starts, and what was seen is there from the first
look on. The series of what is gone are gone.

Nothing is given out unless the configuration says where:

    metrics:
      listen: 127.0.0.1:9643   # for Prometheus, at /metrics
      webConfig: ""            # TLS and users, where others can reach it
      textfile: ""             # for node_exporter, a file that ends in .prom
      x509: false              # the names of x509-certificate-exporter besides

` + "`metrics.webConfig`" + ` is a file as all exporters of Prometheus have it, for instance

    tls_server_config:
      cert_file: /etc/kubecertd/metrics.crt
      key_file: /etc/kubecertd/metrics.key
    basic_auth_users:
      prometheus: $2y$10$...   # htpasswd -nBC 10 ""

The textfile is written anew after each look and each run, in one step. It stays when the
daemon ends or is told not to write it any more: remove it then. How old it is can be seen in
` + "`kubecertd_last_look_timestamp_seconds`" + `, and an alert looks at that.

Alert rules are in ` + "`/usr/share/kubecertd/prometheus/kubecertd.rules.yaml`" + `, and each alert has
an entry in [runbook.md](runbook.md). A dashboard for Grafana, of the fleet and of each node, is
in ` + "`/usr/share/kubecertd/grafana/kubecertd.json`" + `: import it, and choose your Prometheus.

Times are seconds since 1970. The states of a certificate, and the gates, are those of
[troubleshooting.md](troubleshooting.md).

| metric | type | labels | what it says |
|---|---|---|---|
`

// The document is what is registered; go test ./report/metrics -update writes it.
func TestDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString(intro)
	for _, f := range metrics.Families {
		labels := "–"
		if len(f.Labels) > 0 {
			labels = "`" + strings.Join(f.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Type, labels, f.Help)
	}
	golden(t, "../../docs/metrics.md", b.String())
}

// The table is what the registry says of itself.
func TestFamiliesAreWhatIsRegistered(t *testing.T) {
	families, err := full().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		found := false
		for _, documented := range metrics.Families {
			if documented.Name != f.GetName() {
				continue
			}
			found = true
			if got := strings.ToLower(f.GetType().String()); got != string(documented.Type) || f.GetHelp() != documented.Help {
				t.Errorf("%s is a %s: %s", f.GetName(), got, f.GetHelp())
			}
			for _, m := range f.GetMetric() {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetName())
				}
				if len(labels) != len(documented.Labels) {
					t.Errorf("%s has the labels %v, documented are %v", f.GetName(), labels, documented.Labels)
				}
			}
		}
		if !found {
			t.Errorf("%s is not documented", f.GetName())
		}
	}
}
