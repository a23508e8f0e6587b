package renew_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// A component is not restarted that would read what cannot be used; that somebody else
// could not is no reason.
func TestUsable(t *testing.T) {
	tests := []struct {
		certificate string
		state       pki.State
		optional    bool
		refused     []string // the components that are left alone
	}{
		{"scheduler.conf", pki.OK, false, nil},
		{"scheduler.conf", pki.Invalid, false, []string{renew.Scheduler}},
		{"scheduler.conf", pki.Expired, false, []string{renew.Scheduler}},
		{"scheduler.conf", pki.Missing, false, []string{renew.Scheduler}},
		{"scheduler.conf", pki.Missing, true, nil},
		{"scheduler.conf", pki.External, false, nil},
		// The kubelet does not read it.
		{"apiserver-kubelet-client", pki.Invalid, false, []string{renew.APIServer}},
		{"kubelet-client", pki.Expired, false, []string{renew.Kubelet}},
		{"kubelet-server", pki.Expired, false, nil},
		{"admin.conf", pki.Invalid, false, nil},
	}
	for _, tt := range tests {
		o := healthy()
		certificate(&o, tt.certificate, func(c *pki.Certificate) { c.State, c.Optional, c.Reason = tt.state, tt.optional, "for a reason" })
		var refused []string
		for _, name := range renew.Order {
			err := renew.Usable(o, name)
			if err == nil {
				continue
			}
			refused = append(refused, name)
			for _, want := range []string{name, tt.certificate, string(tt.state), "for a reason"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		}
		if diff := cmp.Diff(tt.refused, refused); diff != "" {
			t.Errorf("%s is %s: left alone (-want +got):\n%s", tt.certificate, tt.state, diff)
		}
	}
}

// What a run waits for: everything that it restarted, and what it renewed and can be seen
// to be reloaded.
func TestUnproven(t *testing.T) {
	// served is a component that shows another certificate than the one on disk.
	served := func(name string, age time.Duration) func(*renew.Observation) {
		return func(o *renew.Observation) {
			certificate(o, name, func(c *pki.Certificate) { rewritten(c); c.Changed = now.Add(-age) })
		}
	}
	tests := []struct {
		name               string
		see                func(*renew.Observation)
		policy             renew.RestartPolicy
		renewed, restarted []string
		open               []string // component and certificate
	}{
		{"nothing", func(*renew.Observation) {}, "", nil, renew.Order, nil},
		{"restarted and stale", func(o *renew.Observation) { certificate(o, "scheduler.conf", rewritten) }, "",
			[]string{"scheduler.conf"}, []string{renew.Scheduler}, []string{"kube-scheduler scheduler.conf"}},
		{"restarted and unknown", func(o *renew.Observation) { certificate(o, "front-proxy-client", rewritten) }, "",
			[]string{"front-proxy-client"}, []string{renew.APIServer}, []string{"kube-apiserver front-proxy-client"}},
		// Nobody renewed it in this run; the component was restarted all the same.
		{"restarted for something else", func(o *renew.Observation) { certificate(o, "scheduler.conf", rewritten) }, "",
			nil, []string{renew.Scheduler}, []string{"kube-scheduler scheduler.conf"}},
		{"left alone", func(o *renew.Observation) { certificate(o, "scheduler.conf", rewritten) }, renew.RestartNever,
			[]string{"scheduler.conf"}, nil, nil},
		{"reloading", served("apiserver", time.Second), renew.RestartAuto, []string{"apiserver"}, nil, []string{"kube-apiserver apiserver"}},
		{"should have reloaded", served("apiserver", time.Hour), renew.RestartAuto, []string{"apiserver"}, nil, []string{"kube-apiserver apiserver"}},
		{"reloading, renewed by somebody else", served("apiserver", time.Second), renew.RestartAuto, []string{"etcd-server"}, nil, nil},
		{"reloading, and nobody wants to know", served("apiserver", time.Second), renew.RestartNever, []string{"apiserver"}, nil, nil},
		// It cannot be seen, so there is nothing to wait for.
		{"reloads unseen", func(o *renew.Observation) { certificate(o, "front-proxy-client", rewritten) }, renew.RestartAuto,
			[]string{"front-proxy-client"}, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := healthy()
			tt.see(&o)
			policy := shipped
			policy.Restart.Default = tt.policy
			got := renew.Unproven(o, policy, tt.renewed, tt.restarted)
			if len(got) != len(tt.open) {
				t.Errorf("waits for %q, want %q", got, tt.open)
			}
			for _, want := range tt.open {
				component, name, _ := strings.Cut(want, " ")
				if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, component+" has not loaded "+name+": ") }) {
					t.Errorf("waits for %q, want %q", got, tt.open)
				}
			}
		})
	}
}
