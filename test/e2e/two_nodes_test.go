//go:build linux

package e2e_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/lab/controlplane"
	"github.com/kubecertd/kubecertd/test/story"
)

// A control-plane node that joined has no super-admin.conf, and a peer in etcd.
func TestJoinedNode(t *testing.T) {
	cluster := story.Lab(t, "e2e-joined", 2)
	first, n := cluster.Nodes[0], prepare(t, cluster.Nodes[1])
	n.gone(t, "/etc/kubernetes/super-admin.conf")
	due := slices.DeleteFunc(slices.Sorted(maps.Keys(story.CertificateFiles)), func(name string) bool { return name == "super-admin.conf" })

	t.Run("its missing file is nothing to do", func(t *testing.T) { notDue(t, n) })
	t.Run("what comes due", func(t *testing.T) { comesDue(t, first, n, due) })
	t.Run("waits while its peer is away", func(t *testing.T) { peerAway(t, first, n) })

	n.gone(t, "/etc/kubernetes/super-admin.conf")
	if err := cluster.WaitHealthy(t.Context()); err != nil {
		t.Error(err)
	}
}

// comesDue demands that a node with a peer restarts one component after the other, and
// says nothing of the file that it does not have.
func comesDue(t *testing.T, first *controlplane.Node, n *node, due []string) {
	n.MustRun(t, "systemctl", "stop", "kubecertd") // or it begins before all are aged
	before := n.Observe(t)
	poll := first.PollAPI(t.Context(), 10*time.Millisecond)
	n.Age(t, due...)
	n.Start(t)
	n.AwaitDone(t, 2*time.Minute)
	t.Logf("the API of the other node was %s", poll.Stop())
	story.Eventually(t, 30*time.Second, n.Settled)

	var order, want []string
	for _, e := range n.Events(t, "") {
		switch e["MESSAGE_ID"] {
		case renew.EventRestarting:
			order = append(order, "stop "+e["COMPONENT"])
		case renew.EventRestarted:
			order = append(order, "healthy "+e["COMPONENT"])
		}
		if debug := e["PRIORITY"] == "7"; !debug && !slices.Contains(due, "super-admin.conf") && strings.Contains(e.Message(), "super-admin.conf") {
			t.Errorf("super-admin.conf is talked about: %s", e.Message())
		}
	}
	for _, name := range append(slices.Clone(story.Pods), "kubelet") {
		want = append(want, "stop "+name, "healthy "+name)
	}
	// Those that led and lost their API server for ten seconds have left by themselves.
	want = slices.DeleteFunc(want, func(step string) bool {
		leads := step == "stop kube-controller-manager" || step == "stop kube-scheduler"
		return leads && !slices.Contains(order, step)
	})
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("order of the restarts (-want +got):\n%s", diff)
	}
	n.RestartedOnce(t, before, story.Pods...)
	n.KubeletRestarted(t, before, true)
	n.APIWorks(t)
	for _, name := range due {
		if !n.Renewed(t, name) {
			t.Errorf("%s was not renewed", name)
		}
	}
}

// peerAway demands that no etcd is stopped while the other one cannot be relied on, and
// that it is when it can.
func peerAway(t *testing.T, first *controlplane.Node, n *node) {
	n.Began = time.Now()
	if err := first.CutNetwork(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := first.RestoreNetwork(); err != nil {
			t.Error(err)
		}
	})
	n.Age(t, "etcd-server")
	files := n.Files(t)
	n.AwaitSaid(t, 30*time.Second, renew.EventBlocked, "gate=etcd", "https://127.0.0.1:2379")
	if diff := cmp.Diff(files, n.Files(t)); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
	// Others leave by themselves without a quorum.
	if text := story.Said(n.Events(t, renew.EventRestarting)); text != "" {
		t.Errorf("stopped:\n%s", text)
	}

	if err := first.RestoreNetwork(); err != nil {
		t.Fatal(err)
	}
	n.AwaitDone(t, 2*time.Minute)
	story.Eventually(t, 30*time.Second, n.Settled)
	if got := story.Values(n.Events(t, renew.EventRestarting), "COMPONENT"); !slices.Equal(got, []string{"etcd"}) {
		t.Errorf("stopped %v, want etcd alone", got)
	}
}

// notDue demands that several looks find nothing, and say nothing of what is missing.
func notDue(t *testing.T, n *node) {
	n.Configure(t, "check: {interval: 1s, retry: 1s}\nlog: {level: debug}\n")
	before := n.Observe(t)
	n.Start(t)
	story.Eventually(t, 30*time.Second, func() error {
		if looks := strings.Count(story.Said(n.Events(t, "")), "looked, nothing new"); looks < 3 {
			return fmt.Errorf("%d further looks", looks)
		}
		return nil
	})
	n.Untouched(t, before)
	if err := story.Contains(n.Exits(t, 0, "kubecertd", "plan"), "Nothing to do."); err != nil {
		t.Error(err)
	}
	for _, id := range []string{renew.EventPlanned, renew.EventRunStarted, renew.EventNotice, renew.EventBlocked} {
		if text := story.Said(n.Events(t, id)); text != "" {
			t.Errorf("said although nothing is wrong:\n%s", text)
		}
	}
	s, err := n.Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range s.Certificates {
		if c.Name == "super-admin.conf" && (c.State != "missing" || !c.Optional || !c.RenewAt.IsZero()) {
			t.Errorf("status says of super-admin.conf: %s, optional %t, to be renewed %s", c.State, c.Optional, c.RenewAt)
		}
	}
	n.Configure(t, story.Soon)
	n.MustRun(t, "systemctl", "reload", "kubecertd")
	n.AwaitSaid(t, 10*time.Second, renew.EventReloaded, "configuration read again")
}
