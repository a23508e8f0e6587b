package renew_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
)

// restorable is a node that has renewed everything, with the snapshot of before.
func restorable(t *testing.T) (n *fakeNode, snapshot string, before []byte) {
	n = newFakeNode(t)
	before = n.read(n.files.Certificate("scheduler.conf"))
	id, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err != nil {
		t.Fatal(err)
	}
	n.steps = nil
	return n, id, before
}

func TestRestore(t *testing.T) {
	t.Parallel()
	n, snapshot, before := restorable(t)
	after := n.read(n.files.Certificate("scheduler.conf"))

	id, changes, err := n.Restore(t.Context(), snapshot, true)
	if err != nil || id != "" || len(changes) != len(renewable) || !bytes.Equal(n.read(n.files.Certificate("scheduler.conf")), after) || len(n.rest()) > 0 {
		t.Fatalf("dry run: %q, %d changes, %v, steps %q; want nothing touched", id, len(changes), err, n.rest())
	}
	events := n.journal()
	id, changes, err = n.Restore(t.Context(), snapshot, false)
	if restored, back := len(events(renew.EventRestored)), len(events(renew.EventPutBack)); restored != len(renewable) || back > 0 {
		t.Errorf("said to be restored %d times, put back %d times; want all restored", restored, back)
	}
	if err != nil || id == "" || len(changes) != len(renewable) {
		t.Fatalf("%q, %d changes, %v", id, len(changes), err)
	}
	if !bytes.Equal(n.read(n.files.Certificate("scheduler.conf")), before) {
		t.Error("scheduler.conf is not what it was")
	}
	var stopped []string
	for _, step := range n.done() {
		if strings.HasPrefix(step, "stop ") {
			stopped = append(stopped, step)
		}
	}
	if diff := cmp.Diff([]string{"stop kube-apiserver-2", "stop etcd-2", "stop kube-controller-manager-2", "stop kube-scheduler-2"}, stopped); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	// It can itself be undone.
	if _, _, err = n.Restore(t.Context(), id, false); err != nil || !bytes.Equal(n.read(n.files.Certificate("scheduler.conf")), after) {
		t.Errorf("undone: %v", err)
	}
	if id, changes, err := n.Restore(t.Context(), id, false); id != "" || len(changes) > 0 || err != nil {
		t.Errorf("again: %q, %v, %v; want nothing to do", id, changes, err)
	}
}

// Nothing is touched when a part of it could not be used, or a gate is closed.
func TestRestoreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		damage func(n *fakeNode)
		err    string
	}{
		{"expired", func(n *fakeNode) { n.later(11 * day) }, "cannot be put back: it is expired"},
		{"another CA", func(n *fakeNode) {
			n.files.CA("ca", n.Now().Add(-day), n.Now().Add(3650*day))
		}, "its CA ca is another one now"},
		{"paused", func(n *fakeNode) { n.mustDo(n.State.Pause(renew.Pause{By: "ann"})) }, "paused until resumed (by ann)"},
		{"no kubelet", func(n *fakeNode) { n.kubeletHealthy = func() error { return errors.New("refused") } }, "blocked by kubelet"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, snapshot, _ := restorable(t)
			after := n.read(n.files.Certificate("admin.conf"))
			tt.damage(n)
			id, _, err := n.Restore(t.Context(), snapshot, false)
			if id != "" || err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("run %q, %v; want it refused with %q", id, err, tt.err)
			}
			if !bytes.Equal(n.read(n.files.Certificate("admin.conf")), after) || slices.ContainsFunc(n.done(), func(s string) bool { return strings.HasPrefix(s, "stop") }) {
				t.Errorf("something was touched: %q", n.done())
			}
		})
	}
	n, _, _ := restorable(t)
	for _, id := range []string{"", "..", "none", "../../etc"} {
		if _, _, err := n.Restore(t.Context(), id, false); err == nil {
			t.Errorf("snapshot %q was found", id)
		}
	}
}

// A restoration that is refused by a server, or is cut off, ends where it began.
func TestRestoreGoesBack(t *testing.T) {
	t.Parallel()
	n, snapshot, _ := restorable(t)
	after := n.read(n.files.Certificate("scheduler.conf"))
	n.Credentials = &servers{refuse: "scheduler.conf"}
	if _, _, err := n.Restore(t.Context(), snapshot, false); err == nil || !strings.Contains(err.Error(), "scheduler.conf is refused") {
		t.Errorf("error %v", err)
	}
	if !bytes.Equal(n.read(n.files.Certificate("scheduler.conf")), after) {
		t.Error("the refused one stays")
	}
}

// What a person repairs by restoring may have been unusable.
func TestRestoreRepairs(t *testing.T) {
	t.Parallel()
	n, snapshot, before := restorable(t)
	n.files.Write("/etc/kubernetes/scheduler.conf", "")
	if _, changes, err := n.Restore(t.Context(), snapshot, true); err != nil || len(changes) != len(renewable) {
		t.Fatalf("%d changes, %v", len(changes), err)
	}
	if _, _, err := n.Restore(t.Context(), snapshot, false); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(n.read(n.files.Certificate("scheduler.conf")), before) {
		t.Error("it was not repaired")
	}
}
