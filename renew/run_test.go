package renew_test

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// alone is what is done to a node without peers on which everything is due.
var alone = []string{
	"stop kube-apiserver-1", "grace 1s", "stop etcd-1", "healthy etcd", "healthy kube-apiserver",
	"stop kube-controller-manager-1", "healthy kube-controller-manager",
	"stop kube-scheduler-1", "healthy kube-scheduler",
	"restart kubelet",
}

func TestRunAlone(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	id, look, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(alone, n.done()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(renewable, n.calls()); diff != "" {
		t.Errorf("kubeadm renewed (-want +got):\n%s", diff)
	}
	if !look.Plan.Alone {
		t.Error("the plan does not say that the node is alone")
	}
	after := n.Look(t.Context(), renew.Wish{})
	if after.Plan.Work() || len(after.Plan.Blocked) > 0 {
		t.Errorf("the next look plans %+v", after.Plan)
	}
	for _, p := range after.Proofs {
		if p.Verdict != renew.Loaded {
			t.Errorf("%s of %s: %s (%s)", p.Certificate, p.Component, p.Verdict, p.Evidence)
		}
	}
	runs, err := n.State.History()
	if err != nil || len(runs) != 1 {
		t.Fatalf("history: %v, %v", runs, err)
	}
	run := runs[0]
	if run.ID != id || run.Outcome != renew.Done || run.Trigger != "timer" {
		t.Errorf("recorded %+v", run)
	}
	if diff := cmp.Diff(renewable, run.Renewed); diff != "" {
		t.Errorf("recorded renewals (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(renew.Order, run.Restarted); diff != "" {
		t.Errorf("recorded restarts (-want +got):\n%s", diff)
	}
}

// With peers there is a quorum to protect: each is healthy before the next stops.
func TestRunWithPeers(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.peers = []string{"cp2", "cp3"}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"stop etcd-1", "healthy etcd", "stop kube-apiserver-1", "grace 10s", "healthy kube-apiserver",
		"stop kube-controller-manager-1", "healthy kube-controller-manager", "stop kube-scheduler-1", "healthy kube-scheduler", "restart kubelet",
	}
	if diff := cmp.Diff(want, n.done()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestRunNothingDue(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	n.steps = nil
	id, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if id != "" || err != nil || len(n.done()) > 0 {
		t.Errorf("run %q, %v, steps %q; want nothing", id, err, n.done())
	}
	if runs, _ := n.State.History(); len(runs) != 1 {
		t.Errorf("%d runs recorded, want one", len(runs))
	}
}

// Somebody renewed by hand and restarted nothing.
func TestRunAfterSomebodyElse(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	for _, name := range renewable {
		if _, err := n.Kubeadm.Renew(t.Context(), name, "/unused"); err != nil {
			t.Fatal(err)
		}
	}
	before := len(n.calls())
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "file"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(alone, n.done()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if len(n.calls()) != before {
		t.Errorf("kubeadm was run again: %q", n.calls()[before:])
	}
}

// What must stop a run before anything is stopped, or before anything is touched.
func TestRunStopsEarly(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		damage  func(*fakeNode)
		blocked bool // nothing was touched at all
		steps   []string
		err     []string
	}{
		{
			name:   "kubeadm says it renewed and did not",
			damage: func(n *fakeNode) { n.instead("apiserver", "echo renewed"); n.only("apiserver") },
			err:    []string{"apiserver.crt is unchanged on disk although kubeadm reported no error"},
		},
		{
			name:    "kubeadm is missing",
			damage:  func(n *fakeNode) { n.Kubeadm.Path = "/no/such/kubeadm" },
			blocked: true, err: []string{"/no/such/kubeadm", "no such file"},
		},
		{
			name:    "the kubelet is not healthy",
			damage:  func(n *fakeNode) { n.kubeletHealthy = func() error { return errors.New("healthz: refused") } },
			blocked: true, err: []string{"healthz: refused", "journalctl -u kubelet"},
		},
		{
			name:    "the kubelet is not active",
			damage:  func(n *fakeNode) { n.unit.Running, n.unit.Detail = false, "kubelet.service is inactive (dead)" },
			blocked: true, err: []string{"inactive (dead)", "systemctl start kubelet"},
		},
		{
			name: "the kubelet could not start again",
			damage: func(n *fakeNode) {
				n.files.Remove(n.files.Certificate("kubelet-client"))
			},
			blocked: true, err: []string{"kubelet-client", "never stopped"},
		},
		{
			name:    "another member of etcd is not healthy",
			damage:  func(n *fakeNode) { n.peers, n.unhealthy = []string{"cp2"}, map[string]string{"cp2": "does not answer"} },
			blocked: true, err: []string{"cp2 (does not answer)", "quorum"},
		},
		{
			name: "the cluster configuration is not known",
			damage: func(n *fakeNode) {
				n.configuration = errors.New("connection refused")
				n.files.Write("/etc/kubernetes/manifests/kube-apiserver.yaml", "nonsense")
			},
			blocked: true, err: []string{"never read from the API server", "connection refused", "cannot be rebuilt", "there is no manifest of kube-apiserver", "cluster-configuration.yaml"},
		},
		{
			name: "etcd does not come back",
			damage: func(n *fakeNode) {
				n.peers, n.dead[renew.Etcd] = []string{"cp2"}, true
			},
			steps: []string{"stop etcd-1", "stop pod of etcd-1", "restart kubelet"}, err: []string{"etcd was stopped and did not come back: no new container within 5s", "crictl ps -a"},
		},
		{
			name:   "kube-controller-manager is not healthy",
			damage: func(n *fakeNode) { n.sick[renew.ControllerManager] = true },
			steps: append(slices.Clone(alone[:7]), "stop kube-controller-manager-2", "stop pod of kube-controller-manager-2",
				"restart kubelet", "healthy kube-controller-manager"),
			err: []string{"kube-controller-manager was started again and is not healthy: readyz: 500", "nothing blames the new certificates",
				"nothing more is restarted", "kubecertd backup show"},
		},
		{
			name: "the kubelet dies in the middle",
			damage: func(n *fakeNode) {
				n.onStop = func(name string) {
					if name == renew.ControllerManager {
						n.mu.Lock()
						n.unit.Running, n.unit.Detail = false, "failed"
						n.mu.Unlock()
					}
				}
			},
			steps: alone[:7], err: []string{"kube-scheduler not stopped: the kubelet is not active: failed"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newFakeNode(t)
			tt.damage(n)
			id, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.err {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if diff := cmp.Diff(tt.steps, n.done()); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			var blocked *renew.BlockedError
			if errors.As(err, &blocked) != tt.blocked {
				t.Errorf("error %v, blocked wanted: %v", err, tt.blocked)
			}
			if tt.blocked && (id != "" || len(n.calls()) > 0) {
				t.Errorf("run %q, kubeadm renewed %q; want nothing touched", id, n.calls())
			}
			if runs, _ := n.State.History(); !tt.blocked && (len(runs) != 1 || runs[0].Outcome != renew.Failed) {
				t.Errorf("recorded %+v, want a failed run", runs)
			}
		})
	}
}

// only makes one certificate the only one that is due.
func (n *fakeNode) only(name string) {
	for _, other := range renewable {
		if other != name {
			if _, err := n.Kubeadm.Renew(n.t.Context(), other, "/unused"); err != nil {
				n.t.Fatal(err)
			}
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.pods {
		c.Started = n.Now()
		n.pods[c.Name] = c
	}
	n.unit.Started = n.Now()
}

// loseName prepares a serving certificate that lacks a name of the old one.
func (n *fakeNode) loseName() {
	n.prepareAndKeep("apiserver", func() { n.files.IssueWith("apiserver", shorter(n.Now())) })
}

// A certificate that kubeadm refuses, untouched, does not keep the others from
// being renewed and loaded.
func TestRunOneRefused(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.instead("front-proxy-client", "echo CA key not found >&2; exit 1")
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "front-proxy-client") || !strings.Contains(err.Error(), "CA key not found") {
		t.Errorf("error %v does not name the certificate and kubeadm's words", err)
	}
	if diff := cmp.Diff(alone, n.done()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	// Not at once, and nothing else is touched meanwhile.
	if plan := n.Look(t.Context(), renew.Wish{}).Plan; plan.Work() || plan.Next.IsZero() || plan.Next.Sub(n.Now()) > 2*time.Minute {
		t.Errorf("the next look plans %+v, want the next attempt within a minute or so", plan)
	}
	n.later(time.Hour)
	plan := n.Look(t.Context(), renew.Wish{}).Plan
	if len(plan.Renew) != 1 || plan.Renew[0].Certificate != "front-proxy-client" {
		t.Errorf("the next look renews %+v, want what failed", plan.Renew)
	}
}

// A container that left by itself meanwhile has read the new files; stopping it
// again would cost a back-off.
func TestRunSkipsWhatRestartedByItself(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.onStop = func(name string) {
		if name == renew.APIServer {
			n.mu.Lock()
			c := n.pods[renew.Scheduler]
			c.ID, c.Started = "kube-scheduler-2", n.Now()
			n.pods[renew.Scheduler] = c
			n.mu.Unlock()
		}
	}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	for _, step := range n.done() {
		if strings.HasPrefix(step, "stop kube-scheduler") {
			t.Errorf("the scheduler was stopped: %q", n.done())
		}
	}
}

// The remembered configuration makes a renewal independent of the API server.
func TestRunWithoutAPIServer(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	if err := n.Remember(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.configuration = errors.New("connection refused")
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(n.State.Dir, "cluster-configuration.yaml"))
	if err != nil || !strings.Contains(string(content), "certificatesDir: /etc/kubernetes/pki") {
		t.Errorf("remembered %q, %v; want it with the node's certificate directory", content, err)
	}
}

func TestRunToldToStop(t *testing.T) {
	t.Parallel()
	t.Run("before the first renewal", func(t *testing.T) {
		n := newFakeNode(t)
		ctx, cancel := context.WithCancel(t.Context())
		n.instead("admin.conf", "exit 0")
		n.configuration = nil
		cancel()
		_, _, err := n.Act(ctx, renew.Wish{}, "timer")
		if err == nil || len(n.done()) > 0 || len(n.calls()) > 0 {
			t.Errorf("error %v, steps %q, renewals %q; want it to stop", err, n.done(), n.calls())
		}
	})
	t.Run("after the first stop", func(t *testing.T) {
		n := newFakeNode(t)
		ctx, cancel := context.WithCancel(t.Context())
		n.onStop = func(string) { cancel() }
		if _, _, err := n.Act(ctx, renew.Wish{}, "timer"); err != nil {
			t.Errorf("the restarts were not finished: %v", err)
		}
		if diff := cmp.Diff(alone, n.done()); diff != "" {
			t.Errorf("steps (-want +got):\n%s", diff)
		}
	})
}

func TestRunOneAtATime(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	var inside error
	n.onStop = func(name string) {
		if name == renew.Scheduler {
			_, _, inside = n.Act(t.Context(), renew.Wish{}, "command")
		}
	}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	var locked *renew.LockedError
	if !errors.As(inside, &locked) {
		t.Errorf("a second run during the first: %v, want a LockedError", inside)
	}
}

// A joined node has no super-admin.conf, and never will.
func TestRunOnAJoinedNode(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.files.Remove(n.files.Certificate("super-admin.conf"))
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(n.calls(), "super-admin.conf") {
		t.Error("kubeadm was asked to renew super-admin.conf")
	}
	look := n.Look(t.Context(), renew.Wish{})
	if look.Plan.Work() || len(look.Plan.Notices) > 0 {
		t.Errorf("the next look finds %+v", look.Plan)
	}
	if c, _ := look.Observation.Certificate("super-admin.conf"); c.State != pki.Missing {
		t.Errorf("super-admin.conf is %s", c.State)
	}
}

// shorter is a serving certificate for a year without the name "kubernetes".
func shorter(now time.Time) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = now.Add(-time.Minute), now.Add(365*day)
		c.DNSNames = []string{"cp1", "localhost"}
	}
}
