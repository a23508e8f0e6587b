//go:build linux

package e2e_test

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
)

// Somebody renews by hand and restarts nothing: the daemon notices by itself and
// finishes the job. Its next look by the clock is an hour away.
func TestRenewedByHand(t *testing.T) {
	n := onNode(t)
	names := slices.Sorted(maps.Keys(certificateFiles))
	n.start(t)
	n.awaitEvent(t, 10*time.Second, renew.EventLooked)
	before, old := n.observe(t), serials(n.leaves(t, names...))

	n.mustRun(t, "kubeadm", "certs", "renew", "all")
	byHand := serials(n.leaves(t, names...))
	for name, serial := range byHand {
		if serial == old[name] {
			t.Fatalf("kubeadm has not renewed %s", name)
		}
	}
	n.awaitDone(t, 2*time.Minute)
	eventually(t, 20*time.Second, n.settled)

	n.restartedOnce(t, before, pods...)
	n.kubeletRestarted(t, before, true)
	n.apiWorks(t)
	if diff := cmp.Diff(byHand, serials(n.leaves(t, names...))); diff != "" {
		t.Errorf("serials, by hand and in the end (-by hand +end):\n%s", diff)
	}
	if err := errors.Join(n.serves(t, "6443", "apiserver"), n.serves(t, "2379", "etcd-server"), n.serves(t, "2380", "etcd-peer")); err != nil {
		t.Error(err)
	}
	runs := n.history(t)
	if len(runs) != 1 || len(runs[0].Renewed) != 0 || len(runs[0].Restarted) != 5 {
		t.Errorf("history: %+v: want one run that restarted all and renewed nothing", runs)
	}
	if text := said(n.journal(t, renew.EventRenewed)); text != "" {
		t.Errorf("renewed again:\n%s", text)
	}
}
