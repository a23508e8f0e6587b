//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"os"
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
	requireLab(t)
	cluster, err := controlplane.Up(t.Context(), controlplane.Options{Name: joinedLab, Nodes: 2, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(keepLab) == "" {
		t.Cleanup(func() {
			if err := cluster.Down(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	first, n := cluster.Nodes[0], prepare(t, cluster.Nodes[1])
	n.gone(t, "/etc/kubernetes/super-admin.conf")
	due := slices.DeleteFunc(slices.Sorted(maps.Keys(certificateFiles)), func(name string) bool { return name == "super-admin.conf" })

	t.Run("its missing file is nothing to do", func(t *testing.T) { notDue(t, n) })
	before := n.observe(t)
	t.Run("waits while its peer is away", func(t *testing.T) {
		if err := first.CutNetwork(); err != nil {
			t.Fatal(err)
		}
		n.age(t, due...)
		before.Files = n.files(t)
		n.awaitSaid(t, time.Minute, renew.EventBlocked, "etcd", first.Name())
		n.untouched(t, before)
	})
	if err := first.RestoreNetwork(); err != nil {
		t.Fatal(err)
	}
	poll := first.PollAPI(t.Context(), 10*time.Millisecond)
	n.awaitDone(t, 3*time.Minute)
	t.Logf("the API of %s was %s", first.Name(), poll.Stop())
	eventually(t, 30*time.Second, n.settled)

	t.Run("one after the other", func(t *testing.T) { oneByOne(t, n) })
	n.restartedOnce(t, before, pods...)
	n.kubeletRestarted(t, before, true)
	n.apiWorks(t)
	for _, name := range due {
		if !n.renewed(t, name) {
			t.Errorf("%s was not renewed", name)
		}
	}
	n.gone(t, "/etc/kubernetes/super-admin.conf")
	for _, e := range n.journal(t, "") {
		if debug := e["PRIORITY"] == "7"; !debug && strings.Contains(e.Message(), "super-admin.conf") {
			t.Errorf("super-admin.conf is talked about: %s", e.Message())
		}
	}
	if err := cluster.WaitHealthy(t.Context()); err != nil {
		t.Error(err)
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

// oneByOne demands that each component was healthy again before the next was stopped.
func oneByOne(t *testing.T, n *node) {
	var order, want []string
	for _, e := range n.journal(t, "") {
		switch e["MESSAGE_ID"] {
		case renew.EventRestarting:
			order = append(order, "stop "+e["COMPONENT"])
		case renew.EventRestarted:
			order = append(order, "healthy "+e["COMPONENT"])
		}
	}
	for _, name := range append(slices.Clone(pods), "kubelet") {
		want = append(want, "stop "+name, "healthy "+name)
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("order of the restarts (-want +got):\n%s", diff)
	}
}
