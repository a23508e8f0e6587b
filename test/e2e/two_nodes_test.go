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
)

// A control-plane node that joined has no super-admin.conf, and a peer in etcd.
func TestJoinedNode(t *testing.T) {
	cluster := lab(t, "e2e-joined", 2)
	first, n := cluster.Nodes[0], prepare(t, cluster.Nodes[1])
	n.gone(t, "/etc/kubernetes/super-admin.conf")
	due := slices.DeleteFunc(slices.Sorted(maps.Keys(certificateFiles)), func(name string) bool { return name == "super-admin.conf" })

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
	before := n.observe(t)
	poll := first.PollAPI(t.Context(), 10*time.Millisecond)
	n.age(t, due...)
	n.awaitDone(t, 2*time.Minute)
	t.Logf("the API of the other node was %s", poll.Stop())
	eventually(t, 30*time.Second, n.settled)

	var order, want []string
	for _, e := range n.journal(t, "") {
		switch e["MESSAGE_ID"] {
		case renew.EventRestarting:
			order = append(order, "stop "+e["COMPONENT"])
		case renew.EventRestarted:
			order = append(order, "healthy "+e["COMPONENT"])
		}
		if debug := e["PRIORITY"] == "7"; !debug && strings.Contains(e.Message(), "super-admin.conf") {
			t.Errorf("super-admin.conf is talked about: %s", e.Message())
		}
	}
	for _, name := range append(slices.Clone(pods), "kubelet") {
		want = append(want, "stop "+name, "healthy "+name)
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("order of the restarts (-want +got):\n%s", diff)
	}
	n.restartedOnce(t, before, pods...)
	n.kubeletRestarted(t, before, true)
	n.apiWorks(t)
	for _, name := range due {
		if !n.renewed(t, name) {
			t.Errorf("%s was not renewed", name)
		}
	}
}

// peerAway demands that no etcd is stopped while the other one cannot be relied on, and
// that it is when it can.
func peerAway(t *testing.T, first *controlplane.Node, n *node) {
	n.began = time.Now()
	if err := first.CutNetwork(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := first.RestoreNetwork(); err != nil {
			t.Error(err)
		}
	})
	n.age(t, "etcd-server")
	files := n.files(t)
	n.awaitSaid(t, 30*time.Second, renew.EventBlocked, "gate=etcd", "https://127.0.0.1:2379")
	if diff := cmp.Diff(files, n.files(t)); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
	// Others leave by themselves without a quorum.
	if text := said(n.journal(t, renew.EventRestarting)); text != "" {
		t.Errorf("stopped:\n%s", text)
	}

	if err := first.RestoreNetwork(); err != nil {
		t.Fatal(err)
	}
	n.awaitDone(t, 2*time.Minute)
	eventually(t, 30*time.Second, n.settled)
	if got := values(n.journal(t, renew.EventRestarting), "COMPONENT"); !slices.Equal(got, []string{"etcd"}) {
		t.Errorf("stopped %v, want etcd alone", got)
	}
}

// notDue demands that several looks find nothing, and say nothing of what is missing.
func notDue(t *testing.T, n *node) {
	n.configure(t, "check: {interval: 1s, retry: 1s}\nlog: {level: debug}\n")
	before := n.observe(t)
	n.start(t)
	eventually(t, 30*time.Second, func() error {
		if looks := strings.Count(said(n.journal(t, "")), "looked, nothing new"); looks < 3 {
			return fmt.Errorf("%d further looks", looks)
		}
		return nil
	})
	n.untouched(t, before)
	if err := contains(n.exits(t, 0, "kubecertd", "plan"), "Nothing to do."); err != nil {
		t.Error(err)
	}
	for _, id := range []string{renew.EventPlanned, renew.EventRunStarted, renew.EventNotice, renew.EventBlocked} {
		if text := said(n.journal(t, id)); text != "" {
			t.Errorf("said although nothing is wrong:\n%s", text)
		}
	}
	s, err := n.status()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range s.Certificates {
		if c.Name == "super-admin.conf" && (c.State != "missing" || !c.Optional || !c.RenewAt.IsZero()) {
			t.Errorf("status says of super-admin.conf: %s, optional %t, to be renewed %s", c.State, c.Optional, c.RenewAt)
		}
	}
	n.configure(t, soon)
	n.mustRun(t, "systemctl", "reload", "kubecertd")
	n.awaitSaid(t, 10*time.Second, renew.EventReloaded, "configuration read again")
}
