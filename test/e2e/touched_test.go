//go:build linux

package e2e_test

import (
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// The times of files say nothing of what a process has read: a backup tool that touches
// them changes nothing, and a certificate that is restored with the time it once had is
// another than the one that was loaded. The kubelet does not let it wait for having been
// restarted a moment before.
func TestTouchedAndRestored(t *testing.T) {
	n := onNode(t)
	n.Configure(t, story.Soon+"restart: {policy: auto}\n")
	n.Start(t)
	n.AwaitEvent(t, 10*time.Second, renew.EventLooked)
	n.MustRun(t, "cp", "-a", "/etc/kubernetes/scheduler.conf", "/opt/e2e/scheduler.conf")
	n.MustRun(t, "kubeadm", "certs", "renew", "scheduler.conf")
	n.AwaitDone(t, time.Minute)
	before := n.Observe(t)
	if runs := n.History(t); len(runs) != 1 {
		t.Fatalf("history: %+v", runs)
	}

	n.MustRun(t, "find", "/etc/kubernetes", "-type", "f", "-exec", "touch", "{}", "+")
	story.Eventually(t, 10*time.Second, n.Settled)
	time.Sleep(2 * time.Second) // what must not happen would begin after half a second
	if err := n.Settled(); err != nil {
		t.Error(err)
	}
	if runs := n.History(t); len(runs) != 1 {
		t.Errorf("history after a touch: %+v", runs)
	}
	before.Files = n.Files(t)
	n.Untouched(t, before)

	n.MustRun(t, "cp", "-a", "/opt/e2e/scheduler.conf", "/etc/kubernetes/scheduler.conf")
	if err := n.Settled(); err == nil {
		t.Error("status and plan do not see that kube-scheduler has loaded another one")
	}
	n.AwaitSaid(t, 10*time.Second, renew.EventPlanned, "kube-scheduler", "reads it only at its start")
	story.Eventually(t, time.Minute, n.Settled)
	after := n.Observe(t)
	if was, is := before.Containers["kube-scheduler"], after.Containers["kube-scheduler"]; is.Attempt != was.Attempt+1 {
		t.Errorf("kube-scheduler was %+v and is %+v: want the one after it", was, is)
	}
	// The kubelet would have let it wait: it was restarted before.
	var first time.Time
	for _, e := range n.Events(t, renew.EventRestarting) {
		if e["COMPONENT"] == "kubelet" {
			first = e.Time()
		}
	}
	n.KubeletRestarted(t, before, true)
	if stops := n.Events(t, renew.EventRestarting); first.IsZero() || !stops[len(stops)-1].Time().After(first) || stops[len(stops)-1]["COMPONENT"] != "kube-scheduler" {
		t.Errorf("the kubelet was not restarted before kube-scheduler was stopped again: %s", story.Said(stops))
	}
	if again := n.Events(t, renew.EventRestarted); again[len(again)-1].Time().Sub(first) > 8*time.Second {
		t.Errorf("kube-scheduler was let wait: %s", story.Said(again))
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager"} {
		if was, is := before.Containers[name], after.Containers[name]; is.ID != was.ID {
			t.Errorf("%s was restarted too", name)
		}
	}
}
