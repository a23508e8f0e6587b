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

// restarts are the components of a plan, in order.
func restarts(p renew.Plan) []string {
	var names []string
	for _, r := range p.Restart {
		names = append(names, r.Component)
	}
	return names
}

// Every row says where it is seen, and how it is proven follows from it.
func TestHoldings(t *testing.T) {
	seen := map[string]bool{}
	for _, h := range renew.Holdings {
		name := h.Component + " " + h.Certificate
		if h.Source == "" || seen[name] {
			t.Errorf("%s has no source, or two rows", name)
		}
		seen[name] = true
		if h.Within > 0 && (!h.Served || h.Since == "") {
			t.Errorf("%s is given time and is no listener that reloads", name)
		}
		if h.Reloads || h.Mount != nil {
			t.Errorf("%s: what depends on the node is in the table", name)
		}
	}
}

// Under auto, what cannot take up a new file by itself is restarted for it; so is what
// might not, being older than what is known to, or of a version that nobody knows.
func TestAutoByVersion(t *testing.T) {
	tests := []struct {
		certificate, component string
		version                string
		restarted              bool
	}{
		{"etcd-server", renew.Etcd, "3.6.8-0", false},
		{"etcd-server", renew.Etcd, "3.2.0", false},
		{"etcd-server", renew.Etcd, "3.1.20", true},
		{"etcd-peer", renew.Etcd, "3.10.0-0", false},
		{"etcd-peer", renew.Etcd, "", true},
		{"etcd-peer", renew.Etcd, "latest", true},
		{"apiserver", renew.APIServer, "v1.17.0", false},
		{"apiserver", renew.APIServer, "v1.16.15", true},
		{"apiserver", renew.APIServer, "v1.36.3-eks-1a2b3c", false},
		{"apiserver", renew.APIServer, "v1", true},
		{"apiserver-kubelet-client", renew.APIServer, "v1.18.0", false},
		{"apiserver-kubelet-client", renew.APIServer, "v1.17.17", true},
		{"apiserver-etcd-client", renew.APIServer, "v1.17.0", false},
		{"apiserver-etcd-client", renew.APIServer, "v1.16.0", true},
		{"front-proxy-client", renew.APIServer, "v1.19.0", false},
		{"front-proxy-client", renew.APIServer, "v1.18.20", true},
		{"front-proxy-client", renew.APIServer, "", true},
		{"controller-manager.conf", renew.ControllerManager, "v1.36.3", true},
		{"scheduler.conf", renew.Scheduler, "v1.36.3", true},
		{"kubelet-server", renew.Kubelet, "v1.35.4", true},
		{"kubelet-server", renew.Kubelet, "v1.36.0", false},
	}
	policy := shipped
	policy.Restart.Default = renew.RestartAuto
	for _, tt := range tests {
		t.Run(tt.certificate+" by "+tt.component+" "+tt.version, func(t *testing.T) {
			want := []string(nil)
			if tt.restarted {
				want = []string{tt.component}
			}
			if tt.component != renew.Kubelet {
				o := healthy()
				component(&o, tt.component, func(c *renew.Component) { c.Version = tt.version })
				certificate(&o, tt.certificate, due)
				if diff := cmp.Diff(want, restarts(renew.Decide(o, policy, renew.Wish{}))); diff != "" {
					t.Errorf("due (-want +got):\n%s", diff)
				}
			}
			// Somebody else has written it, a moment ago, and a port goes on showing the old.
			o := healthy()
			component(&o, tt.component, func(c *renew.Component) { c.Version = tt.version })
			certificate(&o, tt.certificate, func(c *pki.Certificate) { c.Changed, c.SHA256 = now.Add(-2*time.Second), "new" })
			plan := renew.Decide(o, policy, renew.Wish{})
			if diff := cmp.Diff(want, restarts(plan)); diff != "" {
				t.Errorf("written by somebody else (-want +got):\n%s", diff)
			}
		})
	}
}

// What the kubelet writes for itself it uses, whatever its version.
func TestKubeletServerOfTheKubelet(t *testing.T) {
	o := healthy()
	certificate(&o, "kubelet-server", func(c *pki.Certificate) {
		c.Renewer, c.Changed, c.SHA256 = pki.Kubelet, now.Add(-2*time.Second), "new"
	})
	if plan := renew.Decide(o, shipped, renew.Wish{}); plan.Work() || plan.Next.IsZero() {
		t.Errorf("%+v: want to wait for it", plan)
	}
}

// withVIP is a node with a static pod that holds admin.conf.
func withVIP() renew.Observation {
	o := healthy()
	o.Others = []pki.Holder{{Pod: "kube-vip", Container: "kube-vip", Mounts: []pki.Mount{{Certificate: "admin.conf", HostPath: "/etc/kubernetes/admin.conf"}}}}
	kubelet := o.Components[len(o.Components)-1]
	o.Components[len(o.Components)-1] = renew.Component{Name: "kube-vip", Pod: "kube-vip-cp1", Version: "v0.8.0", ID: "kube-vip-1", Running: true, Started: now.Add(-99 * day)}
	o.Components = append(o.Components, kubelet)
	return o
}

// A static pod of others is restarted for what it mounts, after kubeadm's components and
// before the kubelet, unless the configuration says otherwise.
func TestDecideForeign(t *testing.T) {
	policy := func(of renew.RestartPolicy, override ...renew.RestartPolicy) renew.RestartPolicies {
		p := renew.RestartPolicies{Default: of}
		if len(override) > 0 {
			p.Of = map[string]renew.RestartPolicy{"kube-vip": override[0]}
		}
		return p
	}
	all := slices.Insert(slices.Clone(renew.Order), len(renew.Order)-1, "kube-vip")
	tests := []struct {
		name   string
		policy renew.RestartPolicies
		change func(*renew.Observation)
		want   []string
		notice string
	}{
		{"nothing", policy(renew.RestartAlways), func(*renew.Observation) {}, nil, ""},
		{"due, always", policy(renew.RestartAlways), func(o *renew.Observation) { certificate(o, "admin.conf", due) }, []string{"kube-vip"}, ""},
		{"due, auto", policy(renew.RestartAuto), func(o *renew.Observation) { certificate(o, "admin.conf", due) }, []string{"kube-vip"}, ""},
		{"due, never", policy(renew.RestartNever), func(o *renew.Observation) { certificate(o, "admin.conf", due) }, nil, ""},
		{"due, never for it alone", policy(renew.RestartAlways, renew.RestartNever), func(o *renew.Observation) { certificate(o, "admin.conf", due) }, nil, ""},
		{"rewritten, auto", policy(renew.RestartAuto), func(o *renew.Observation) { certificate(o, "admin.conf", rewritten) }, []string{"kube-vip"}, ""},
		{"rewritten, never for it alone", policy(renew.RestartAuto, renew.RestartNever), func(o *renew.Observation) { certificate(o, "admin.conf", rewritten) }, nil, "kube-vip has not loaded admin.conf"},
		{"another is due", policy(renew.RestartAlways), func(o *renew.Observation) { certificate(o, "scheduler.conf", due) }, []string{renew.Scheduler}, ""},
		{"all are due", policy(renew.RestartAlways), func(o *renew.Observation) {
			for i := range o.Certificates {
				if o.Certificates[i].Renewer == pki.Kubeadm {
					due(&o.Certificates[i])
				}
			}
		}, all, ""},
		// It is no reason to leave the node with certificates that run out.
		{"it is down, and another is due", policy(renew.RestartAlways), func(o *renew.Observation) {
			certificate(o, "scheduler.conf", due)
			component(o, "kube-vip", func(c *renew.Component) { c.Running = false })
		}, []string{renew.Scheduler}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := withVIP()
			tt.change(&o)
			p := shipped
			p.Restart = tt.policy
			plan := renew.Decide(o, p, renew.Wish{})
			if diff := cmp.Diff(tt.want, restarts(plan)); diff != "" {
				t.Errorf("restarts (-want +got):\n%s", diff)
			}
			if len(plan.Blocked) > 0 {
				t.Errorf("blocked: %+v", plan.Blocked)
			}
			if said := plan.Notices.String(); !strings.Contains(said, tt.notice) || (tt.notice == "" && said != "") {
				t.Errorf("notices %q, want %q", said, tt.notice)
			}
		})
	}
}
