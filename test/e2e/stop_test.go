//go:build linux

package e2e_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
)

// Told to stop while kubeadm works, the daemon lets that one certificate be finished
// and stops nothing that runs; the next start goes on from there.
func TestStoppedDuringRenewals(t *testing.T) {
	due := []string{"controller-manager.conf", "scheduler.conf"}
	n := onNode(t)
	n.configure(t, soon+"renew: {kubeadm: /opt/e2e/kubeadm}\n")
	n.mustRun(t, "sh", "-e", "-c", kubeadm(
		`until [ -e /opt/e2e/go ]; do sleep 0.1; done; exec /usr/bin/kubeadm "$@"`))
	n.age(t, due...)
	before := n.observe(t)
	n.mustRun(t, "systemctl", "start", "--no-block", "kubecertd")
	n.awaitEvent(t, 20*time.Second, renew.EventRunStarted)
	// The kubeadm of the first certificate is at work: it has a record.
	eventually(t, 10*time.Second, func() error {
		runs := n.history(t)
		if len(runs) != 1 || len(runs[0].Entries) < 2 {
			return fmt.Errorf("history: %+v", runs)
		}
		return nil
	})

	n.mustRun(t, "systemctl", "stop", "--no-block", "kubecertd")
	eventually(t, 10*time.Second, func() error {
		if u := n.unit(t, "kubecertd"); u["ActiveState"] != "deactivating" {
			return fmt.Errorf("the unit is %s", u["ActiveState"])
		}
		return nil
	})
	n.mustRun(t, "touch", "/opt/e2e/go")
	eventually(t, 20*time.Second, func() error { return n.ended(t) })
	if !n.renewed(t, due[0]) || n.renewed(t, due[1]) {
		t.Errorf("renewed: %s %t, %s %t: want that it stops between the two",
			due[0], n.renewed(t, due[0]), due[1], n.renewed(t, due[1]))
	}
	if err := contains(said(n.journal(t, renew.EventRunFailed)), "told to stop before scheduler.conf was renewed"); err != nil {
		t.Error(err)
	}
	n.restartedOnce(t, before)
	n.kubeletRestarted(t, before, false)

	n.start(t)
	eventually(t, time.Minute, n.settled)
	for _, name := range due {
		if !n.renewed(t, name) {
			t.Errorf("%s was not renewed in the end", name)
		}
	}
	n.restartedOnce(t, before, "kube-controller-manager", "kube-scheduler")
	n.kubeletRestarted(t, before, false)
	renewals := values(n.journal(t, renew.EventRenewed), "CERTIFICATE")
	if diff := cmp.Diff(due, renewals); diff != "" {
		t.Errorf("each is renewed once (-want +got):\n%s", diff)
	}
}

// ended says whether the daemon has ended as it should when it is told to.
func (n *node) ended(t *testing.T) error {
	u := n.unit(t, "kubecertd")
	if u["ActiveState"] != "inactive" || u["Result"] != "success" || u["ExecMainStatus"] != "0" {
		return fmt.Errorf("the unit is %v: want that it has ended well", u)
	}
	return nil
}

// Told to stop during restarts, the daemon finishes them: what was stopped is brought
// back, and the rest follows.
func TestStoppedDuringRestarts(t *testing.T) {
	n := onNode(t)
	n.configure(t, soon)
	names := slices.Sorted(maps.Keys(certificateFiles))
	n.age(t, names...)
	before := n.observe(t)
	n.mustRun(t, "systemctl", "start", "--no-block", "kubecertd")
	n.awaitEvent(t, time.Minute, renew.EventRestarting)

	n.mustRun(t, "systemctl", "stop", "kubecertd") // which waits
	if err := n.ended(t); err != nil {
		t.Error(err)
	}
	n.awaitDone(t, time.Second)
	n.restartedOnce(t, before, pods...)
	n.kubeletRestarted(t, before, true)
	if err := errors.Join(n.settled(), n.Healthy(t.Context())); err != nil {
		t.Errorf("after it has ended: %v", err)
	}
	stopping := n.journal(t, renew.EventStopping)
	if len(stopping) != 1 {
		t.Errorf("it says %d times that it stops", len(stopping))
	}
	if runs := n.history(t); len(runs) != 1 || runs[0].Outcome != renew.Done {
		t.Errorf("history: %+v", runs)
	}
}

// Killed in the middle of the restarts, the daemon is started again by systemd and
// finishes what is not finished, from what it sees.
func TestKilledDuringRestarts(t *testing.T) {
	n := onNode(t)
	n.configure(t, soon)
	n.override(t, "RestartSec=1s")
	names := slices.Sorted(maps.Keys(certificateFiles))
	n.age(t, names...)
	before := n.observe(t)
	n.mustRun(t, "systemctl", "start", "--no-block", "kubecertd")
	n.awaitEvent(t, time.Minute, renew.EventRestarting)
	n.mustRun(t, "systemctl", "kill", "--kill-who=main", "--signal=SIGKILL", "kubecertd")

	eventually(t, 2*time.Minute, n.settled)
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Error(err)
	}
	if u := n.unit(t, "kubecertd"); u["ActiveState"] != "active" || u["NRestarts"] != "1" {
		t.Errorf("the unit is %v: want that it was restarted once", u)
	}
	after := n.observe(t)
	for _, name := range pods {
		was, is := before.Containers[name], after.Containers[name]
		if is.ID == was.ID || !is.Running {
			t.Errorf("%s: the container was %+v and is %+v", name, was, is)
		}
		// Controller-manager and scheduler leave by themselves when the API is away for
		// ten seconds (kubernetes: leader election).
		t.Logf("%s: %d new container(s)", name, is.Attempt-was.Attempt)
	}
	n.kubeletRestarted(t, before, true)
	n.apiWorks(t)
	if renewals := values(n.journal(t, renew.EventRenewed), "CERTIFICATE"); len(renewals) != len(names) {
		t.Errorf("renewed: %v: want each once", renewals)
	}
	runs := n.history(t)
	if len(runs) < 2 || runs[0].Outcome != renew.Unfinished || runs[len(runs)-1].Outcome != renew.Done {
		t.Errorf("history: %+v: want one that was cut off, and one done", runs)
	}
}
