//go:build linux

package e2e_test

import (
	"slices"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// A person puts back what a run has renewed: the old certificates are on disk and
// loaded, by the same means and with the same proof, and that can be undone too.
func TestBackupRestore(t *testing.T) {
	n := onNode(t)
	names := []string{"admin.conf", "apiserver-etcd-client", "scheduler.conf"}
	n.Age(t, names...)
	old := n.Leaves(t, names...)
	n.MustRun(t, "kubecertd", "renew")
	story.Eventually(t, 20*time.Second, n.Settled)
	n.Calm(t)
	snapshot := lastSnapshot(t, n)
	renewed := n.Leaves(t, names...)

	if err := story.Contains(n.MustRun(t, "kubecertd", "backup", "list"), snapshot); err != nil {
		t.Error(err)
	}
	if err := story.Contains(n.MustRun(t, "kubecertd", "backup", "show", snapshot), append(slices.Clone(names), "would change it", "same as now")...); err != nil {
		t.Error(err)
	}
	before := n.Observe(t)
	containers, _ := n.Containers(t)
	if err := story.Contains(n.MustRun(t, "kubecertd", "backup", "restore", snapshot, "--dry-run"), "Nothing was changed"); err != nil {
		t.Error(err)
	}
	n.Untouched(t, before)

	n.MustRun(t, "kubecertd", "backup", "restore", snapshot)
	for name, leaf := range n.Leaves(t, names...) {
		if leaf.SerialNumber.Cmp(old[name].SerialNumber) != 0 {
			t.Errorf("%s is not what it was before the run", name)
		}
	}
	after, _ := n.Containers(t)
	for name, old := range containers {
		holds := name == "kube-apiserver" || name == "kube-scheduler"
		if want := map[bool]uint32{true: old.Attempt + 1, false: old.Attempt}[holds]; after[name].Attempt != want {
			t.Errorf("%s is at attempt %d, and was at %d; it holds what was restored: %t", name, after[name].Attempt, old.Attempt, holds)
		}
	}
	s, err := n.Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range s.Certificates {
		for _, p := range c.Holders {
			if p.Verdict == renew.Stale {
				t.Errorf("%s has not loaded %s: %s", p.Component, p.Certificate, p.Evidence)
			}
		}
	}
	n.APIWorks(t)

	// What was there before the restoration is a snapshot as well.
	n.Calm(t)
	undo := lastSnapshot(t, n)
	n.MustRun(t, "kubecertd", "backup", "restore", undo)
	for name, leaf := range n.Leaves(t, names...) {
		if leaf.SerialNumber.Cmp(renewed[name].SerialNumber) != 0 {
			t.Errorf("%s is not the renewed one again", name)
		}
	}
	story.Eventually(t, 20*time.Second, n.Settled)
}

// lastSnapshot is the one that the last run took.
func lastSnapshot(t *testing.T, n *node) string {
	runs := n.History(t)
	for _, e := range runs[len(runs)-1].Entries {
		if e.Snapshot != "" {
			return e.Snapshot
		}
	}
	t.Fatalf("the last run took no snapshot: %+v", runs[len(runs)-1])
	return ""
}
