package renew_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

func TestProve(t *testing.T) {
	tests := []struct {
		name                   string
		change                 func(*renew.Observation)
		component, certificate string
		want                   renew.Verdict
		evidence               string
	}{
		{"served and equal", func(*renew.Observation) {}, renew.APIServer, "apiserver", renew.Loaded, ""},
		{"served and different", func(o *renew.Observation) {
			certificate(o, "apiserver", rewritten)
		}, renew.APIServer, "apiserver", renew.Stale, ""},
		{"started after the file was written", func(*renew.Observation) {}, renew.Scheduler, "scheduler.conf", renew.Loaded, "started 1d0h after"},
		{"read only at its start, before the file was written", func(o *renew.Observation) {
			certificate(o, "scheduler.conf", rewritten)
		}, renew.Scheduler, "scheduler.conf", renew.Stale, "reads it only at its start"},
		{"reloads by itself, invisibly", func(o *renew.Observation) {
			certificate(o, "front-proxy-client", rewritten)
		}, renew.APIServer, "front-proxy-client", renew.Unknown, "cannot be seen from outside"},
		{"not running", func(o *renew.Observation) {
			component(o, renew.Scheduler, func(c *renew.Component) { c.Running, c.Detail = false, "exited with 1" })
		}, renew.Scheduler, "scheduler.conf", renew.Unknown, "not running (exited with 1)"},
		{"runtime does not answer", func(o *renew.Observation) {
			o.Components = o.Components[4:]
			o.Problems = []renew.Problem{{What: "containers", Err: "connection refused"}}
		}, renew.Scheduler, "scheduler.conf", renew.Unknown, "connection refused"},
		{"start unknown", func(o *renew.Observation) {
			component(o, renew.Scheduler, func(c *renew.Component) { c.Started = time.Time{} })
		}, renew.Scheduler, "scheduler.conf", renew.Unknown, "not known when the process started"},
		{"file from the future", func(o *renew.Observation) {
			certificate(o, "scheduler.conf", func(c *pki.Certificate) { c.Changed = now.Add(time.Hour) })
		}, renew.Scheduler, "scheduler.conf", renew.Unknown, "in the future"},
		{"the port does not answer: the start counts", func(o *renew.Observation) {
			for i := range o.Served {
				o.Served[i].SHA256, o.Served[i].Error = "", "refused"
			}
		}, renew.APIServer, "apiserver", renew.Loaded, "started 1d0h after"},
		{"the kubelet and the API server's client certificate", func(o *renew.Observation) {
			certificate(o, "apiserver-kubelet-client", rewritten)
		}, renew.Kubelet, "apiserver-kubelet-client", renew.Unknown, "may keep connections"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := healthy()
			tt.change(&o)
			for _, p := range renew.Prove(o) {
				if p.Component != tt.component || p.Certificate != tt.certificate {
					continue
				}
				if p.Verdict != tt.want || !strings.Contains(p.Evidence, tt.evidence) || p.Evidence == "" {
					t.Errorf("%s (%s), want %s (%s)", p.Verdict, p.Evidence, tt.want, tt.evidence)
				}
				return
			}
			t.Errorf("no proof for %s of %s", tt.certificate, tt.component)
		})
	}
}

// A listener that reloads by itself is given its time before it counts as stale, and is
// looked at again when that is over.
func TestProveGivesListenersTheirTime(t *testing.T) {
	for age, want := range map[time.Duration]renew.Verdict{time.Second: renew.Unknown, 69 * time.Second: renew.Unknown, 71 * time.Second: renew.Stale} {
		o := healthy()
		for i, c := range o.Certificates {
			if c.Name == "apiserver" {
				o.Certificates[i].Changed, o.Certificates[i].SHA256 = now.Add(-age), "another"
			}
		}
		policy := shipped
		policy.Restart.Default = renew.RestartAuto
		plan := renew.Decide(o, policy, renew.Wish{})
		for _, p := range renew.Prove(o) {
			if p.Component == renew.APIServer && p.Certificate == "apiserver" && p.Verdict != want {
				t.Errorf("%s after the change: %s (%s), want %s", age, p.Verdict, p.Evidence, want)
			}
		}
		if restarts := len(plan.Restart) > 0; restarts != (want == renew.Stale) {
			t.Errorf("%s after the change: restarts %+v", age, plan.Restart)
		}
		if want == renew.Unknown && !plan.Next.Equal(now.Add(-age).Add(70*time.Second)) {
			t.Errorf("%s after the change: next look at %s (%s)", age, plan.Next, plan.NextReason)
		}
	}
}
