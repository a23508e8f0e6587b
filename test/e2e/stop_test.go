//go:build linux

package e2e_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// Told to stop while kubeadm works, the daemon lets that one certificate be finished
// and stops nothing that runs; the next start goes on from there.
func TestStoppedDuringRenewals(t *testing.T) {
	due := []string{"controller-manager.conf", "scheduler.conf"}
	n := onNode(t)
	n.Configure(t, story.Soon+"renew: {kubeadm: /opt/e2e/kubeadm}\n")
	n.MustRun(t, "sh", "-e", "-c", kubeadm(
		`until [ -e /opt/e2e/go ]; do sleep 0.1; done; exec /usr/bin/kubeadm "$@"`))
	n.Age(t, due...)
	before := n.Observe(t)
	n.MustRun(t, "systemctl", "start", "--no-block", "kubecertd")
	n.AwaitEvent(t, 20*time.Second, renew.EventRunStarted)
	// The kubeadm of the first certificate is at work: it has a record.
	story.Eventually(t, 10*time.Second, func() error {
		runs := n.History(t)
		if len(runs) != 1 || len(runs[0].Entries) < 2 {
			return fmt.Errorf("history: %+v", runs)
		}
		return nil
	})

	n.MustRun(t, "systemctl", "stop", "--no-block", "kubecertd")
	story.Eventually(t, 10*time.Second, func() error {
		if u := n.Unit(t, "kubecertd"); u["ActiveState"] != "deactivating" {
			return fmt.Errorf("the unit is %s", u["ActiveState"])
		}
		return nil
	})
	n.MustRun(t, "touch", "/opt/e2e/go")
	story.Eventually(t, 20*time.Second, func() error { return n.ended(t) })
	if !n.Renewed(t, due[0]) || n.Renewed(t, due[1]) {
		t.Errorf("renewed: %s %t, %s %t: want that it stops between the two",
			due[0], n.Renewed(t, due[0]), due[1], n.Renewed(t, due[1]))
	}
	if err := story.Contains(story.Said(n.Events(t, renew.EventRunFailed)), "told to stop before scheduler.conf was renewed"); err != nil {
		t.Error(err)
	}
	n.RestartedOnce(t, before)
	n.KubeletRestarted(t, before, false)

	n.Start(t)
	story.Eventually(t, time.Minute, n.Settled)
	for _, name := range due {
		if !n.Renewed(t, name) {
			t.Errorf("%s was not renewed in the end", name)
		}
	}
	n.RestartedOnce(t, before, "kube-controller-manager", "kube-scheduler")
	n.KubeletRestarted(t, before, false)
	renewals := story.Values(n.Events(t, renew.EventRenewed), "CERTIFICATE")
	if diff := cmp.Diff(due, renewals); diff != "" {
		t.Errorf("each is renewed once (-want +got):\n%s", diff)
	}
}

// ended says whether the daemon has ended as it should when it is told to.
func (n *node) ended(t *testing.T) error {
	u := n.Unit(t, "kubecertd")
	if u["ActiveState"] != "inactive" || u["Result"] != "success" || u["ExecMainStatus"] != "0" {
		return fmt.Errorf("the unit is %v: want that it has ended well", u)
	}
	return nil
}

// Told to stop during restarts, the daemon finishes them: what was stopped is brought
// back, and the rest follows.
func TestStoppedDuringRestarts(t *testing.T) {
	n := onNode(t)
	n.Configure(t, story.Soon)
	names := slices.Sorted(maps.Keys(story.CertificateFiles))
	n.Age(t, names...)
	before := n.Observe(t)
	n.MustRun(t, "systemctl", "start", "--no-block", "kubecertd")
	n.AwaitEvent(t, time.Minute, renew.EventRestarting)

	n.MustRun(t, "systemctl", "stop", "kubecertd") // which waits
	if err := n.ended(t); err != nil {
		t.Error(err)
	}
	n.AwaitDone(t, time.Second)
	n.RestartedOnce(t, before, story.Pods...)
	n.KubeletRestarted(t, before, true)
	if err := errors.Join(n.Settled(), n.Healthy(t.Context())); err != nil {
		t.Errorf("after it has ended: %v", err)
	}
	stopping := n.Events(t, renew.EventStopping)
	if len(stopping) != 1 {
		t.Errorf("it says %d times that it stops", len(stopping))
	}
	if runs := n.History(t); len(runs) != 1 || runs[0].Outcome != renew.Done {
		t.Errorf("history: %+v", runs)
	}
}

// Killed in the middle of the restarts, the daemon is started again by systemd and
// finishes what is not finished, from what it sees.
func TestKilledDuringRestarts(t *testing.T) {
	n := onNode(t)
	n.Configure(t, story.Soon)
	n.Override(t, "RestartSec=1s")
	names := slices.Sorted(maps.Keys(story.CertificateFiles))
	n.Age(t, names...)
	before := n.Observe(t)
	n.MustRun(t, "systemctl", "start", "--no-block", "kubecertd")
	n.AwaitEvent(t, time.Minute, renew.EventRestarting)
	n.MustRun(t, "systemctl", "kill", "--kill-who=main", "--signal=SIGKILL", "kubecertd")

	story.Eventually(t, 2*time.Minute, n.Settled)
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Error(err)
	}
	if u := n.Unit(t, "kubecertd"); u["ActiveState"] != "active" || u["NRestarts"] != "1" {
		t.Errorf("the unit is %v: want that it was restarted once", u)
	}
	after := n.Observe(t)
	for _, name := range story.Pods {
		was, is := before.Containers[name], after.Containers[name]
		if is.ID == was.ID || !is.Running {
			t.Errorf("%s: the container was %+v and is %+v", name, was, is)
		}
		// Controller-manager and scheduler leave by themselves when the API is away for
		// ten seconds (kubernetes: leader election).
		t.Logf("%s: %d new container(s)", name, is.Attempt-was.Attempt)
	}
	n.KubeletRestarted(t, before, true)
	n.APIWorks(t)
	if renewals := story.Values(n.Events(t, renew.EventRenewed), "CERTIFICATE"); len(renewals) != len(names) {
		t.Errorf("renewed: %v: want each once", renewals)
	}
	runs := n.History(t)
	if len(runs) < 2 || runs[0].Outcome != renew.Failed || !strings.Contains(runs[0].Error, "it was cut off") || runs[len(runs)-1].Outcome != renew.Done {
		t.Errorf("history: %+v: want one that was cut off, and one done", runs)
	}
}
