//go:build linux

package e2e_test

import (
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// Everything has run out on all three nodes, which were without power together. Each is
// repaired by itself: no lock can be had from an API that is down. The quorum comes with
// the second of them.
func TestEverythingExpiredOnThreeNodes(t *testing.T) {
	cluster := story.Lab(t, "e2e-three", 3)
	var nodes []*node
	for _, on := range cluster.Nodes {
		nodes = append(nodes, prepare(t, on))
	}
	for _, n := range nodes {
		n.Expire(t, n.due()...)
	}
	for _, n := range nodes {
		if err := n.PowerCut(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		if err := n.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(untilTheKubeletWaits)
	for _, n := range nodes {
		if err := n.Healthy(t.Context()); err == nil {
			t.Fatalf("%s works with expired certificates", n.Name())
		}
	}

	began := time.Now()
	for _, n := range nodes {
		n.Began = began
		n.MustRun(t, "systemctl", "start", "--no-block", "kubecertd")
	}
	if err := cluster.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	t.Logf("all three are healthy %s after the start of the daemons", took.Round(100*time.Millisecond))
	if took > 2*time.Minute {
		t.Error("want it within two minutes")
	}
	// What waits for the others now looks again every minute, as shipped.
	for _, n := range nodes {
		n.Configure(t, story.Soon)
		n.MustRun(t, "systemctl", "reload", "kubecertd")
	}
	for _, n := range nodes {
		n.AwaitSaid(t, time.Minute, renew.EventAfresh, "starting the control plane afresh")
		story.Eventually(t, 3*time.Minute, n.Settled)
		for _, name := range n.due() {
			if !n.Renewed(t, name) {
				t.Errorf("%s of %s was not renewed", name, n.Name())
			}
		}
	}
	t.Logf("everything is loaded and proven %s after the start", time.Since(began).Round(100*time.Millisecond))
	if err := cluster.WaitHealthy(t.Context()); err != nil {
		t.Error(err)
	}
	for _, n := range nodes {
		n.secondStart(t)
		n.MustRun(t, "systemctl", "stop", "kubecertd")
	}
}
