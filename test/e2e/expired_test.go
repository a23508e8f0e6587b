//go:build linux

package e2e_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// The day on which most people meet the problem: every certificate that kubeadm renews
// has run out, the node was restarted, and nothing comes up. The package is all that is
// needed.
func TestEverythingExpired(t *testing.T) {
	n := onNode(t)
	names := slices.Sorted(maps.Keys(story.CertificateFiles))
	n.Expire(t, names...)
	if err := n.PowerCut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(untilTheKubeletWaits)
	if err := n.Healthy(t.Context()); err == nil {
		t.Fatal("it works with expired certificates")
	} else {
		t.Logf("before: %v", err)
	}

	began := time.Now()
	n.MustRun(t, "systemctl", "start", "kubecertd")
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	t.Logf("healthy %s after the start of the daemon", took.Round(100*time.Millisecond))
	if took > time.Minute {
		t.Error("want it within a minute")
	}
	n.AwaitDone(t, 2*time.Minute)
	if err := story.Contains(story.Said(n.Events(t, renew.EventAfresh)), "starting the control plane afresh"); err != nil {
		t.Error(err)
	}
	story.Eventually(t, 30*time.Second, n.Settled)
	// An API server that has just started does not know yet who may do what.
	story.Eventually(t, 30*time.Second, func() error {
		_, err := n.Try("kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "get", "nodes")
		return err
	})
	for _, name := range names {
		if !n.Renewed(t, name) {
			t.Errorf("%s was not renewed", name)
		}
	}
	n.secondStart(t)
}

// untilTheKubeletWaits is as long as it takes until the kubelet lets what crashes wait for
// a while.
const untilTheKubeletWaits = 25 * time.Second

// secondStart demands that a daemon that is started again finds nothing to do.
func (n *node) secondStart(t *testing.T) {
	t.Helper()
	before := n.Observe(t)
	runs := len(n.History(t))
	n.MustRun(t, "systemctl", "restart", "kubecertd")
	n.Untouched(t, before)
	if again := len(n.History(t)); again != runs {
		t.Errorf("a second start made %d further runs", again-runs)
	}
}
