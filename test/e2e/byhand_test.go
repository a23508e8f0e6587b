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
	"github.com/kubecertd/kubecertd/test/story"
)

// Somebody renews by hand and restarts nothing: the daemon notices by itself and
// finishes the job. Its next look by the clock is an hour away.
func TestRenewedByHand(t *testing.T) {
	n := onNode(t)
	names := slices.Sorted(maps.Keys(story.CertificateFiles))
	n.Start(t)
	n.AwaitEvent(t, 10*time.Second, renew.EventLooked)
	before, old := n.Observe(t), story.Serials(n.Leaves(t, names...))

	n.MustRun(t, "kubeadm", "certs", "renew", "all")
	byHand := story.Serials(n.Leaves(t, names...))
	for name, serial := range byHand {
		if serial == old[name] {
			t.Fatalf("kubeadm has not renewed %s", name)
		}
	}
	n.AwaitDone(t, 2*time.Minute)
	story.Eventually(t, 20*time.Second, n.Settled)

	n.RestartedOnce(t, before, story.Pods...)
	n.KubeletRestarted(t, before, true)
	n.APIWorks(t)
	if diff := cmp.Diff(byHand, story.Serials(n.Leaves(t, names...))); diff != "" {
		t.Errorf("serials, by hand and in the end (-by hand +end):\n%s", diff)
	}
	if err := errors.Join(n.Serves(t, "6443", "apiserver"), n.Serves(t, "2379", "etcd-server"), n.Serves(t, "2380", "etcd-peer")); err != nil {
		t.Error(err)
	}
	runs := n.History(t)
	if len(runs) != 1 || len(runs[0].Renewed) != 0 || len(runs[0].Restarted) != 5 {
		t.Errorf("history: %+v: want one run that restarted all and renewed nothing", runs)
	}
	if text := story.Said(n.Events(t, renew.EventRenewed)); text != "" {
		t.Errorf("renewed again:\n%s", text)
	}
}
