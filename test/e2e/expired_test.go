//go:build linux

package e2e_test

import (
	"maps"
	"slices"
	"testing"
	"time"

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
	// As long as it takes until the kubelet lets what crashes wait for a while.
	time.Sleep(25 * time.Second)
	if err := n.Healthy(t.Context()); err == nil {
		t.Fatal("it works with expired certificates")
	} else {
		t.Logf("before: %v", err)
	}

	began := time.Now()
	n.MustRun(t, "systemctl", "start", "kubecertd")
	n.AwaitDone(t, 5*time.Minute) // the kubelet lets what has crashed wait
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("healthy %s after the start of the daemon", time.Since(began).Round(100*time.Millisecond))
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
	before := n.Observe(t)
	runs := len(n.History(t))
	n.MustRun(t, "systemctl", "restart", "kubecertd")
	n.Untouched(t, before)
	if again := len(n.History(t)); again != runs {
		t.Errorf("a second start made %d further runs", again-runs)
	}
}
