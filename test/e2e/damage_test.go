//go:build linux

package e2e_test

import (
	"crypto/sha256"
	"crypto/x509"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// wreck is one way in which the files of a node are damaged.
type wreck struct {
	name  string
	quick bool // also without KUBECERTD_SOAK
	// certificate is the name of what is damaged.
	certificate string
	damage      string // run in the node, by sh
	forget      bool   // there is no snapshot from before
	forgetful   bool   // nor is the cluster's configuration remembered
	// down is what crashes because of it; empty where nothing does.
	down string
	// asBefore says that its files are exactly those from before.
	asBefore bool
}

var wrecks = []wreck{
	{name: "controller-manager.conf truncated", quick: true, certificate: "controller-manager.conf", asBefore: true,
		damage: "truncate -s 3000 /etc/kubernetes/controller-manager.conf; pkill -x kube-controller", down: "kube-controller-manager"},
	{name: "apiserver.crt empty and its key gone, without a snapshot", quick: true, certificate: "apiserver", forget: true,
		damage: ": >/etc/kubernetes/pki/apiserver.crt; rm /etc/kubernetes/pki/apiserver.key"},
	{name: "admin.conf empty", quick: true, certificate: "admin.conf", damage: ": >/etc/kubernetes/admin.conf", asBefore: true},
	{name: "apiserver.key gone", certificate: "apiserver", damage: "rm /etc/kubernetes/pki/apiserver.key; pkill -x kube-apiserver", down: "kube-apiserver"},
	{name: "apiserver.crt empty and its key gone, without a snapshot, and the API down", certificate: "apiserver", forget: true,
		damage: ": >/etc/kubernetes/pki/apiserver.crt; rm /etc/kubernetes/pki/apiserver.key; pkill -x kube-apiserver", down: "kube-apiserver"},
	{name: "etcd's server.crt gone", certificate: "etcd-server", asBefore: true,
		damage: "rm /etc/kubernetes/pki/etcd/server.crt; pkill -x etcd", down: "etcd"},
	{name: "etcd's server.crt gone, without a snapshot or a configuration", certificate: "etcd-server", forget: true, forgetful: true,
		damage: "rm /etc/kubernetes/pki/etcd/server.*; pkill -x etcd", down: "etcd"},
	{name: "scheduler.conf gone, without a snapshot", certificate: "scheduler.conf", forget: true,
		damage: "rm /etc/kubernetes/scheduler.conf; pkill -x kube-scheduler", down: "kube-scheduler"},
	{name: "admin.conf empty, without a snapshot", certificate: "admin.conf", forget: true, damage: ": >/etc/kubernetes/admin.conf"},
	{name: "ca.crt truncated", certificate: "ca", damage: "truncate -s 500 /etc/kubernetes/pki/ca.crt", asBefore: true},
}

// What is damaged is as it was, or as kubeadm made it, and nothing else has changed.
func TestDamage(t *testing.T) {
	for _, w := range wrecks {
		t.Run(w.name, func(t *testing.T) {
			if !w.quick && os.Getenv("KUBECERTD_SOAK") == "" {
				t.Skip("only with KUBECERTD_SOAK=1")
			}
			w.tell(t)
		})
	}
}

func (w wreck) tell(t *testing.T) {
	n := onNode(t)
	n.MustRun(t, "rm", "-rf", story.StateDir+"/snapshots")
	n.Start(t)
	n.AwaitEvent(t, 30*time.Second, renew.EventKept)
	n.MustRun(t, "systemctl", "stop", "kubecertd")
	if w.forget {
		n.MustRun(t, "rm", "-rf", story.StateDir+"/snapshots")
	}
	if w.forgetful {
		n.MustRun(t, "rm", "-f", story.StateDir+"/cluster-configuration.yaml")
	}
	leaf := n.leafOf(t, w.certificate)
	before, modes := n.sums(t)
	n.MustRun(t, "sh", "-c", w.damage+"; true")
	if w.down != "" {
		story.Eventually(t, 2*time.Minute, func() error {
			newest, _ := n.Containers(t)
			if c := newest[w.down]; c.Running || c.Attempt == 0 {
				return errStill(w.down)
			}
			return nil
		})
	}

	began := time.Now()
	n.MustRun(t, "systemctl", "start", "kubecertd")
	n.AwaitDone(t, 6*time.Minute)
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("healthy %s after the start of the daemon", time.Since(began).Round(100*time.Millisecond))
	story.Eventually(t, 2*time.Minute, n.Settled)
	n.APIWorks(t)

	w.asItWas(t, n, before, modes)
	if leaf != nil {
		if made := n.leafOf(t, w.certificate); made.Subject.String() != leaf.Subject.String() ||
			!cmp.Equal(sorted(made.DNSNames), sorted(leaf.DNSNames)) || len(made.IPAddresses) != len(leaf.IPAddresses) {
			t.Errorf("it is for %s, %v, %v, and was for %s, %v, %v", made.Subject, made.DNSNames, made.IPAddresses, leaf.Subject, leaf.DNSNames, leaf.IPAddresses)
		}
	}
	after := n.Observe(t)
	runs := len(n.History(t))
	n.MustRun(t, "systemctl", "restart", "kubecertd")
	n.Untouched(t, after)
	if again := len(n.History(t)); again != runs {
		t.Errorf("a second start made %d further runs", again-runs)
	}
}

// leafOf is a certificate that kubeadm renews, and nil for a CA.
func (n *node) leafOf(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	if _, leaf := story.CertificateFiles[name]; !leaf {
		return nil
	}
	return n.Leaf(t, name)
}

type errStill string

func (e errStill) Error() string { return string(e) + " still runs" }

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// asItWas demands that only the files of what was damaged have changed, if they have.
func (w wreck) asItWas(t *testing.T, n *node, before map[string][32]byte, modes map[string]fs.FileMode) {
	t.Helper()
	var changed []string
	after, modesAfter := n.sums(t)
	if diff := cmp.Diff(modes, modesAfter); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
	for path, sum := range before {
		if after[path] != sum {
			changed = append(changed, path)
		}
	}
	for path := range after {
		if _, was := before[path]; !was {
			changed = append(changed, path)
		}
	}
	slices.Sort(changed)
	want := story.CertificateFiles[w.certificate]
	if w.asBefore {
		want = nil
	}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
}

// sums are what every file in /etc/kubernetes holds, and its mode.
func (n *node) sums(t *testing.T) (sums map[string][32]byte, modes map[string]fs.FileMode) {
	t.Helper()
	sums, modes = map[string][32]byte{}, map[string]fs.FileMode{}
	for path := range maps.Keys(n.Files(t)) {
		if !strings.HasPrefix(path, "/etc/kubernetes/") {
			continue
		}
		name := filepath.Join(n.Root(), path)
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		sums[path] = sha256.Sum256(content)
		modes[path] = info.Mode()
	}
	return sums, modes
}
