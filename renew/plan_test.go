package renew_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// healthy is a one-node control plane on which nothing is due and everything is
// loaded: certificates written 100 days ago, processes started 99 days ago.
func healthy() renew.Observation {
	o := renew.Observation{At: now, ControlPlane: true}
	written := now.Add(-100 * day)
	add := func(name, ca string, renewer pki.Renewer) {
		c := leaf(written, now.Add(265*day))
		c.Name, c.CA, c.Renewer, c.SHA256 = name, ca, renewer, name+"-sha256"
		c.Path = "/etc/kubernetes/" + name
		o.Certificates = append(o.Certificates, c)
	}
	for _, name := range []string{"admin.conf", "apiserver", "apiserver-kubelet-client", "controller-manager.conf", "scheduler.conf"} {
		add(name, "ca", pki.Kubeadm)
	}
	add("apiserver-etcd-client", "etcd-ca", pki.Kubeadm)
	add("etcd-healthcheck-client", "etcd-ca", pki.Kubeadm)
	add("etcd-peer", "etcd-ca", pki.Kubeadm)
	add("etcd-server", "etcd-ca", pki.Kubeadm)
	add("front-proxy-client", "front-proxy-ca", pki.Kubeadm)
	add("kubelet-client", "ca", pki.Kubelet)
	add("kubelet-server", "", pki.Nobody)
	for _, name := range []string{"ca", "etcd-ca", "front-proxy-ca"} {
		add(name, "", pki.Nobody)
		ca := &o.Certificates[len(o.Certificates)-1]
		ca.Kind, ca.NotAfter = pki.CA, now.Add(3000*day)
	}
	for _, name := range renew.Order {
		o.Components = append(o.Components, renew.Component{Name: name, Version: versions[name], ID: name + "-1", Running: true, Started: now.Add(-99 * day)})
	}
	for component, certificate := range map[string]string{renew.Etcd: "etcd-server", renew.APIServer: "apiserver", renew.Kubelet: "kubelet-server"} {
		o.Served = append(o.Served, pki.Served{
			Endpoint: pki.Endpoint{Component: component, Certificate: certificate, Address: "127.0.0.1:1"}, SHA256: certificate + "-sha256"})
	}
	return o
}

// versions are what kubeadm 1.36 runs, as the images are tagged.
var versions = map[string]string{renew.Etcd: "3.6.8-0", renew.APIServer: "v1.36.3", renew.ControllerManager: "v1.36.3", renew.Scheduler: "v1.36.3"}

// certificate changes one certificate of an observation.
func certificate(o *renew.Observation, name string, change func(*pki.Certificate)) {
	for i := range o.Certificates {
		if o.Certificates[i].Name == name {
			change(&o.Certificates[i])
		}
	}
}

func component(o *renew.Observation, name string, change func(*renew.Component)) {
	for i := range o.Components {
		if o.Components[i].Name == name {
			change(&o.Components[i])
		}
	}
}

func due(c *pki.Certificate) { c.NotAfter = now.Add(10 * day) }

func expired(c *pki.Certificate) {
	c.NotAfter, c.State, c.Reason = now.Add(-day), pki.Expired, "expired 1d ago"
}

// rewritten is a certificate that somebody renewed an hour ago.
func rewritten(c *pki.Certificate) {
	c.Changed, c.NotAfter, c.SHA256 = now.Add(-time.Hour), now.Add(365*day), "new"
}

func TestDecide(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*renew.Observation)
		wish    renew.Wish
		renew   []string
		restart []string
		blocked []string
		notice  string // contained in one of the notices; empty: no notices
	}{
		{name: "nothing due", change: func(*renew.Observation) {}},
		{
			name:   "one certificate without a holder",
			change: func(o *renew.Observation) { certificate(o, "admin.conf", due) },
			renew:  []string{"admin.conf"},
		},
		{
			name:    "a holder is restarted, and nobody else",
			change:  func(o *renew.Observation) { certificate(o, "scheduler.conf", due) },
			renew:   []string{"scheduler.conf"},
			restart: []string{"kube-scheduler"},
		},
		{
			name: "everything due: the order of restarts",
			change: func(o *renew.Observation) {
				for i := range o.Certificates {
					if o.Certificates[i].Renewer == pki.Kubeadm {
						due(&o.Certificates[i])
					}
				}
			},
			renew: []string{"admin.conf", "apiserver", "apiserver-kubelet-client", "controller-manager.conf", "scheduler.conf",
				"apiserver-etcd-client", "etcd-healthcheck-client", "etcd-peer", "etcd-server", "front-proxy-client"},
			restart: []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"},
		},
		{
			name: "renewed by somebody else, nothing restarted",
			change: func(o *renew.Observation) {
				for i := range o.Certificates {
					if o.Certificates[i].Renewer == pki.Kubeadm {
						rewritten(&o.Certificates[i])
					}
				}
			},
			restart: []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"},
		},
		{
			name: "renewed by somebody else, and restarted",
			change: func(o *renew.Observation) {
				certificate(o, "scheduler.conf", rewritten)
				component(o, renew.Scheduler, func(c *renew.Component) { c.Started = now.Add(-59 * time.Minute) })
			},
		},
		{
			// Restarting again would read the same file again.
			name: "serves something else although it is newer than the file",
			change: func(o *renew.Observation) {
				certificate(o, "apiserver", func(c *pki.Certificate) { c.SHA256 = "other" })
			},
			notice: "restarting would not help",
		},
		{
			name: "a file from the future restarts nobody",
			change: func(o *renew.Observation) {
				certificate(o, "scheduler.conf", func(c *pki.Certificate) { c.Changed = now.Add(time.Hour) })
			},
		},
		{
			name: "the kubelet rotated its own certificate",
			change: func(o *renew.Observation) {
				certificate(o, "kubelet-client", rewritten)
			},
		},
		{
			name: "the kubelet serves an old certificate",
			change: func(o *renew.Observation) {
				certificate(o, "kubelet-server", rewritten)
			},
			restart: []string{"kubelet"},
		},
		{
			name: "super-admin.conf is missing on a joined node",
			change: func(o *renew.Observation) {
				o.Certificates = append(o.Certificates, pki.Certificate{Name: "super-admin.conf", Renewer: pki.Kubeadm, Optional: true, State: pki.Missing})
			},
		},
		{
			name: "a required certificate is missing",
			change: func(o *renew.Observation) {
				certificate(o, "front-proxy-client", func(c *pki.Certificate) {
					*c = pki.Certificate{Name: c.Name, Path: c.Path, Renewer: pki.Kubeadm, State: pki.Missing, Reason: "no such file"}
				})
			},
			notice: "front-proxy-client is missing: no such file",
		},
		{
			name:   "asked for by name",
			change: func(*renew.Observation) {},
			wish:   renew.Wish{Names: []string{"controller-manager.conf"}}, renew: []string{"controller-manager.conf"}, restart: []string{"kube-controller-manager"},
		},
		{
			name: "the kubelet is down",
			change: func(o *renew.Observation) {
				certificate(o, "scheduler.conf", due)
				component(o, renew.Kubelet, func(c *renew.Component) { c.Running = false })
			},
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}, blocked: []string{"kubelet"},
		},
		{
			name: "the kubelet could not start again",
			change: func(o *renew.Observation) {
				certificate(o, "scheduler.conf", due)
				certificate(o, "kubelet-client", expired)
			},
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}, blocked: []string{"kubelet-client"},
			notice: "kubelet-client is expired",
		},
		{
			name: "systemd does not answer",
			change: func(o *renew.Observation) {
				certificate(o, "admin.conf", due)
				o.Components = o.Components[:4]
				o.Problems = []renew.Problem{{What: "kubelet", Err: "no bus"}}
			},
			renew: []string{"admin.conf"}, blocked: []string{"systemd"},
		},
		{
			name: "the container runtime does not answer",
			change: func(o *renew.Observation) {
				certificate(o, "admin.conf", due)
				o.Components = o.Components[4:]
				o.Problems = []renew.Problem{{What: "containers", Err: "connection refused"}}
			},
			renew: []string{"admin.conf"}, blocked: []string{"containers"},
		},
		{
			name: "a component does not run",
			change: func(o *renew.Observation) {
				certificate(o, "scheduler.conf", due)
				component(o, renew.Etcd, func(c *renew.Component) { c.Running = false })
			},
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}, blocked: []string{"component etcd"},
		},
		{
			name: "the CA has expired: what it would sign is worthless",
			change: func(o *renew.Observation) {
				certificate(o, "etcd-server", due)
				certificate(o, "etcd-ca", expired)
			},
			notice: "the CA etcd-ca (/etc/kubernetes/etcd-ca) is expired since 2026-02-28 12:00:00 UTC: nothing that it has signed is renewed or restarted",
		},
		{
			name: "another CA has expired",
			change: func(o *renew.Observation) {
				certificate(o, "scheduler.conf", due)
				certificate(o, "etcd-ca", expired)
			},
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"},
			notice: "etcd-ca is expired",
		},
		{
			// kube-apiserver would not reach etcd again; what it reloads by itself it takes up.
			name: "the CA of etcd has expired: who needs it is not restarted for another's either",
			change: func(o *renew.Observation) {
				certificate(o, "apiserver", due)
				certificate(o, "etcd-ca", expired)
			},
			renew: []string{"apiserver"}, notice: "kube-apiserver is not restarted (holds apiserver): the CA etcd-ca",
		},
		{
			name: "the CA of etcd has expired, and etcd with it",
			change: func(o *renew.Observation) {
				certificate(o, "admin.conf", due)
				certificate(o, "etcd-ca", expired)
				component(o, renew.Etcd, func(c *renew.Component) { c.Running = false })
			},
			renew: []string{"admin.conf"}, notice: "etcd-ca is expired",
		},
		{
			name: "the CA has expired, and a person names what it signs",
			change: func(o *renew.Observation) {
				certificate(o, "etcd-server", due)
				certificate(o, "etcd-ca", expired)
			},
			wish:  renew.Wish{Names: []string{"etcd-server"}},
			renew: []string{"etcd-server"}, blocked: []string{"ca etcd-ca"}, notice: "etcd is not restarted",
		},
		{
			name: "the key of a CA is another's: what other CAs sign is renewed",
			change: func(o *renew.Observation) {
				certificate(o, "scheduler.conf", due)
				certificate(o, "etcd-server", func(c *pki.Certificate) { due(c); c.CAKeyHere = false })
				certificate(o, "etcd-ca", func(c *pki.Certificate) { c.State, c.Reason = pki.Invalid, "its key belongs to another certificate" })
			},
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}, notice: "etcd-ca is invalid: its key belongs to another certificate",
		},
		{
			name: "external, and due",
			change: func(o *renew.Observation) {
				certificate(o, "front-proxy-client", func(c *pki.Certificate) {
					due(c)
					c.CAKeyHere, c.State, c.Reason = false, pki.External, "renew it where the CA is kept"
				})
			},
			notice: "front-proxy-client is due and cannot be renewed here: renew it where the CA is kept",
		},
		{
			name: "the client certificate of an external etcd, due",
			change: func(o *renew.Observation) {
				certificate(o, "apiserver-etcd-client", func(c *pki.Certificate) { due(c); c.Renewer = pki.Nobody })
			},
			notice: "apiserver-etcd-client is due and cannot be renewed here",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := healthy()
			tt.change(&o)
			p := renew.Decide(o, shipped, tt.wish)
			var got struct{ Renew, Restart, Blocked []string }
			for _, r := range p.Renew {
				got.Renew = append(got.Renew, r.Certificate)
				if r.Reason == "" {
					t.Errorf("no reason to renew %s", r.Certificate)
				}
			}
			for _, r := range p.Restart {
				got.Restart = append(got.Restart, r.Component)
				if r.Reason == "" {
					t.Errorf("no reason to restart %s", r.Component)
				}
			}
			for _, g := range p.Blocked {
				got.Blocked = append(got.Blocked, g.Name)
				if g.Reason == "" || g.Remedy == "" {
					t.Errorf("gate %s: reason %q, remedy %q", g.Name, g.Reason, g.Remedy)
				}
			}
			if diff := cmp.Diff(tt.renew, got.Renew); diff != "" {
				t.Errorf("renew (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.restart, got.Restart); diff != "" {
				t.Errorf("restart (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.blocked, got.Blocked); diff != "" {
				t.Errorf("blocked (-want +got):\n%s", diff)
			}
			// What is only good to know of the CAs is tested with them.
			notices := slices.DeleteFunc(slices.Clone(p.Notices), func(n renew.Notice) bool { return n.Severity == renew.Info }).String()
			if (tt.notice == "") != (notices == "") || !strings.Contains(notices, tt.notice) {
				t.Errorf("notices %q, want one that says %q", notices, tt.notice)
			}
			if p.Work() != (len(tt.renew)+len(tt.restart) > 0) {
				t.Errorf("Work() = %v", p.Work())
			}
		})
	}
}

func TestDecideNext(t *testing.T) {
	o := healthy()
	certificate(&o, "etcd-peer", func(c *pki.Certificate) { c.NotAfter = now.Add(50 * day) })
	p := renew.Decide(o, shipped, renew.Wish{})
	if want := now.Add(20 * day); !p.Next.Equal(want) || p.NextReason != "etcd-peer becomes due" {
		t.Errorf("next %s (%s), want %s for etcd-peer", p.Next, p.NextReason, want)
	}
}

// A leaf that ends with its CA is not renewed: the new one would end there too.
func TestDecideEndsWithItsCA(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		leaf, ca time.Duration
		renew    bool
	}{
		"a CA that lives long":  {10 * day, 3650 * day, true},
		"with its CA":           {10 * day, 10 * day, false},
		"after its CA":          {20 * day, 10 * day, false},
		"a day before its CA":   {10 * day, 11 * day, true},
		"expired before its CA": {-2 * day, 10 * day, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := pkitest.New(t, now.Add(-300*day))
			n.CA("ca", now.Add(-3650*day), now.Add(tt.ca))
			n.Issue("apiserver", now.Add(-355*day), now.Add(tt.leaf))
			layout, _ := pki.Locate(pki.Options{Root: n.Root})
			o := renew.Observation{At: now, ControlPlane: true, Certificates: layout.Read(now)}
			plan := renew.Decide(o, shipped, renew.Wish{})
			got := slices.ContainsFunc(plan.Decisions, func(d renew.Decided) bool { return d.Certificate == "apiserver" && d.Renew })
			if got != tt.renew {
				t.Errorf("renewed: %t, want %t: %+v", got, tt.renew, plan.Decisions)
			}
		})
	}
}

// With another policy than always, what reloads by itself is left to do so.
func TestDecideRestartPolicy(t *testing.T) {
	due := func(o renew.Observation) renew.Observation {
		for i, c := range o.Certificates {
			if c.Renewer == pki.Kubeadm {
				o.Certificates[i].NotAfter = now.Add(10 * day)
			}
		}
		return o
	}
	// Somebody else has renewed, two hours ago, and restarted nothing.
	renewed := func(o renew.Observation) renew.Observation {
		for i, c := range o.Certificates {
			if c.Renewer == pki.Kubeadm {
				o.Certificates[i].Changed = now.Add(-2 * time.Hour)
			}
		}
		return o
	}
	none := []string(nil)
	tests := []struct {
		name   string
		policy renew.RestartPolicies
		see    func(renew.Observation) renew.Observation
		want   []string
		notice string
	}{
		{"always, due", renew.RestartPolicies{}, due, renew.Order, ""},
		{"auto, due", renew.RestartPolicies{Default: renew.RestartAuto}, due, []string{renew.ControllerManager, renew.Scheduler}, ""},
		{"never, due", renew.RestartPolicies{Default: renew.RestartNever}, due, none, ""},
		{"auto but for one, due", renew.RestartPolicies{Default: renew.RestartAuto, Of: map[string]renew.RestartPolicy{renew.Etcd: renew.RestartAlways, renew.Scheduler: renew.RestartNever}},
			due, []string{renew.Etcd, renew.ControllerManager}, ""},
		{"always, renewed by hand", renew.RestartPolicies{}, renewed, renew.Order, ""},
		{"auto, renewed by hand", renew.RestartPolicies{Default: renew.RestartAuto}, renewed, []string{renew.ControllerManager, renew.Scheduler}, ""},
		{"never, renewed by hand", renew.RestartPolicies{Default: renew.RestartNever}, renewed, none, "kube-scheduler has not loaded scheduler.conf"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			policy := shipped
			policy.Restart = tt.policy
			plan := renew.Decide(tt.see(healthy()), policy, renew.Wish{})
			var got []string
			for _, r := range plan.Restart {
				got = append(got, r.Component)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("restarts (-want +got):\n%s", diff)
			}
			if said := plan.Notices.String(); !strings.Contains(said, tt.notice) || (tt.notice == "" && said != "") {
				t.Errorf("notices %q, want %q", said, tt.notice)
			}
		})
	}
}
