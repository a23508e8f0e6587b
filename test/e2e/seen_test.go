//go:build linux

package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// What happened is seen wherever people look: on the metrics' port, in the textfile, on the
// Node in the API, by fleet and check, and in the journal with its explanation.
func TestSeen(t *testing.T) {
	n := onNode(t)
	const textfile = "/var/lib/prometheus/node-exporter"
	n.MustRun(t, "mkdir", "-p", textfile)
	n.Configure(t, "metrics: {listen: 127.0.0.1:9643, textfile: "+textfile+"/kubecertd.prom}\n")
	n.Age(t, slices.Sorted(maps.Keys(story.CertificateFiles))...)
	began := time.Now()
	n.MustRun(t, "systemctl", "start", "kubecertd")
	n.AwaitDone(t, 2*time.Minute)
	story.Eventually(t, 20*time.Second, n.Settled)

	t.Run("metrics", func(t *testing.T) {
		scraped := n.MustRun(t, "curl", "-fsS", "http://127.0.0.1:9643/metrics")
		for _, where := range []string{scraped, n.Read(t, textfile+"/kubecertd.prom")} {
			for _, line := range []string{`kubecertd_certificate_state{name="apiserver",state="ok"} 1`, `kubecertd_last_look_success 1`,
				`kubecertd_runs_total{outcome="done"} 1`, `kubecertd_component_restart_required{component="kube-apiserver"} 0`,
				`kubecertd_component_restarts_total{component="etcd",result="done"} 1`} {
				if !strings.Contains(where, line+"\n") {
					t.Errorf("%s is not among\n%s", line, where)
				}
			}
		}
	})
	t.Run("node", func(t *testing.T) {
		story.Eventually(t, time.Minute, func() error {
			condition, err := n.kubectl("get", "node", n.Name(), `-o=jsonpath={.status.conditions[?(@.type=="CertificateProblem")]}`)
			if err != nil {
				return err
			}
			var c struct{ Status, Reason, Message, LastHeartbeatTime string }
			if err := json.Unmarshal([]byte(condition), &c); err != nil {
				return fmt.Errorf("condition %q: %w", condition, err)
			}
			at, err := time.Parse(time.RFC3339, c.LastHeartbeatTime)
			if err != nil || at.Before(began.Truncate(time.Second)) || c.Status != "False" || c.Reason != renew.ReasonGood {
				return fmt.Errorf("the condition is %+v", c)
			}
			return nil
		})
		annotation, err := n.kubectl("get", "node", n.Name(), `-o=jsonpath={.metadata.annotations.kubecertd\.io/certificates}`)
		if err != nil || !strings.Contains(annotation, `"apiserver"`) {
			t.Errorf("the annotation is %q (%v)", annotation, err)
		}
		story.Eventually(t, time.Minute, func() error {
			events, err := n.kubectl("get", "events", "-A", "--field-selector=involvedObject.kind=Node,involvedObject.name="+n.Name(), "-o=jsonpath={range .items[*]}{.reason}{\"\\n\"}{end}")
			for _, want := range []string{renew.ReasonDue, renew.ReasonRenewed, renew.ReasonRestarted} {
				if err == nil && !slices.Contains(strings.Fields(events), want) {
					err = fmt.Errorf("there is no event %s, but %q", want, events)
				}
			}
			return err
		})
	})
	t.Run("fleet", func(t *testing.T) {
		if table := n.Exits(t, 0, "kubecertd", "fleet"); !strings.Contains(table, n.Name()) {
			t.Errorf("fleet does not show %s:\n%s", n.Name(), table)
		}
		if page := n.Exits(t, 0, "kubecertd", "fleet", "--output=html"); !strings.Contains(page, "<svg") || !strings.Contains(page, "controller-manager.conf") {
			t.Errorf("fleet's page has no timeline of controller-manager.conf:\n%s", page)
		}
	})
	t.Run("check", func(t *testing.T) {
		said := n.Exits(t, 0, "kubecertd", "check")
		if line := strings.TrimSuffix(said, "\n"); len(line) > 80 || strings.Contains(line, "\n") || !strings.HasPrefix(line, "OK") {
			t.Errorf("check says %q", said)
		}
	})
	t.Run("journal", func(t *testing.T) {
		said := n.MustRun(t, "journalctl", "--no-pager", "-x", "-u", "kubecertd", "MESSAGE_ID="+renew.EventProven)
		if !strings.Contains(said, "Every component has loaded what is on disk") {
			t.Errorf("journalctl -x explains nothing:\n%s", said)
		}
	})
}

// kubectl asks this node's API server with admin.conf.
func (n *node) kubectl(argv ...string) (string, error) {
	result, err := n.Try(append([]string{"kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"}, argv...)...)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, result.Stderr)
	}
	return result.Stdout, nil
}
