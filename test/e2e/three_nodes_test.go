//go:build linux

package e2e_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
	"github.com/kubecertd/kubecertd/test/story"
)

// On three nodes whose certificates come due together exactly what is planned is
// restarted, each once.
func TestThreeNodes(t *testing.T) {
	cluster := story.Lab(t, "e2e-three", 3)
	var nodes []*node
	for _, on := range cluster.Nodes {
		nodes = append(nodes, prepare(t, on))
	}
	t.Run("auto", func(t *testing.T) { allAtOnce(t, nodes) })
	// One after the other: with always, etcd is among what goes.
	// TestTurns has it with the daemons together.
	t.Run("always", func(t *testing.T) {
		onlySoaked(t)
		for i, n := range nodes {
			peer := nodes[(i+1)%len(nodes)]
			n.Began = time.Now()
			n.Configure(t, story.Soon)
			n.Calm(t)
			comesDue(t, peer.Node.Node, n, n.due())
		}
	})
	if err := cluster.WaitHealthy(t.Context()); err != nil {
		t.Error(err)
	}
}

// due are the certificates of kubeadm that the node has.
func (n *node) due() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(story.CertificateFiles)), func(name string) bool {
		_, err := n.Try("test", "-e", story.CertificateFiles[name][0])
		return err != nil
	})
}

// allAtOnce demands that three nodes may act at the same moment with restart.policy
// auto, without one request that fails.
func allAtOnce(t *testing.T, nodes []*node) {
	var before []story.State
	var polls []*controlplane.Poll
	defer func() {
		for _, n := range nodes {
			n.MustRun(t, "systemctl", "stop", "kubecertd")
		}
	}()
	for _, n := range nodes {
		n.Configure(t, story.Soon+"restart: {policy: auto}\n")
		n.Age(t, n.due()...)
		before = append(before, n.Observe(t))
	}
	for _, n := range nodes {
		polls = append(polls, n.PollRequests(t.Context(), 10*time.Millisecond))
	}
	for _, n := range nodes {
		n.MustRun(t, "systemctl", "start", "--no-block", "kubecertd")
	}
	for _, n := range nodes {
		n.AwaitDone(t, 2*time.Minute)
	}
	for i, n := range nodes {
		seen := polls[i].Stop()
		t.Logf("the API of %s was %s", n.Name(), seen)
		if total := seen.Total(); total > 0 || seen.Probes < 100 {
			t.Errorf("the API of %s was away for %s in %d probes", n.Name(), total, seen.Probes)
		}
		n.Exits(t, 0, "kubecertd", "plan")
		n.RestartedOnce(t, before[i], "kube-controller-manager", "kube-scheduler")
		n.KubeletRestarted(t, before[i], false)
		for _, name := range n.due() {
			if !n.Renewed(t, name) {
				t.Errorf("%s of %s was not renewed", name, n.Name())
			}
		}
		n.APIWorks(t)
	}
}
