package renew_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
)

// keep is a look after which nothing is to be done.
func keep(t *testing.T, n *fakeNode) {
	t.Helper()
	if err := n.Keep(n.Observe(t.Context(), time.Now())); err != nil {
		t.Fatal(err)
	}
}

func kept(t *testing.T, n *fakeNode, want int, why string) {
	t.Helper()
	snapshots, err := n.State.Snapshots()
	if err != nil || len(snapshots) != want {
		t.Fatalf("%s: %d snapshots, want %d (%v)", why, len(snapshots), want, err)
	}
}

// What is on disk has a copy from the day of the installation on, and again when somebody
// else has changed it; but not because its times were touched.
func TestKeep(t *testing.T) {
	n := newFakeNode(t)
	keep(t, n)
	kept(t, n, 1, "the day of the installation")
	keep(t, n)
	n.files.Touch(time.Now())
	keep(t, n)
	kept(t, n, 1, "touched")
	n.files.Issue("scheduler.conf", time.Now().Add(-time.Minute), time.Now().Add(24*time.Hour))
	keep(t, n)
	kept(t, n, 2, "somebody else has renewed")
	if err := os.Remove(n.files.Certificate("super-admin.conf")); err != nil {
		t.Fatal(err)
	}
	keep(t, n)
	kept(t, n, 3, "a file was removed on purpose")
	// A run takes none of its own then.
	if _, _, err := n.Act(t.Context(), renew.Wish{Names: []string{"apiserver"}}, "test"); err != nil {
		t.Fatal(err)
	}
	kept(t, n, 3, "a run")
}

// What cannot be used is not kept, nor is anything while somebody else writes.
func TestKeepOnlyWhatIsGood(t *testing.T) {
	for why, change := range map[string]func(*fakeNode){
		"damaged": func(n *fakeNode) { n.files.Write("/etc/kubernetes/scheduler.conf", "") },
		"paused": func(n *fakeNode) {
			if err := n.State.Pause(renew.Pause{Since: time.Now()}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		n := newFakeNode(t)
		change(n)
		keep(t, n)
		kept(t, n, 0, why)
	}
}

// The daemon does so when it has nothing else to do.
func TestLoopKeeps(t *testing.T) {
	n := newFakeNode(t)
	n.Policy.Before = 24 * time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	l := &renew.Loop{Node: n.Node, Interval: time.Hour, Retry: time.Minute, Notify: &manager{}}
	go func() { done <- l.Run(ctx) }()
	for len(n.snapshots()) == 0 {
		select {
		case <-t.Context().Done():
			t.Fatal("the loop has taken no snapshot")
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	kept(t, n, 1, "the first look")
}

func (n *fakeNode) snapshots() []renew.Snapshot {
	list, _ := n.State.Snapshots() // one that is being taken is none yet
	return list
}

// A copy that somebody else's renewal has made stale is refreshed: what it was copied from
// is known from before.
func TestCopyIsRefreshedAfterSomebodyElsesRenewal(t *testing.T) {
	n := newFakeNode(t)
	copying(n, "/root/.kube/config")
	n.files.Write("/root/.kube/config", mine(file(t, n.files.Certificate("admin.conf"))))
	keep(t, n)
	for _, name := range renewable {
		n.files.Issue(name, time.Now().Add(-time.Minute), time.Now().Add(365*24*time.Hour))
	}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "test"); err != nil {
		t.Fatal(err)
	}
	got, _ := credentials(t, file(t, n.files.Path("/root/.kube/config")))
	if want, _ := credentials(t, file(t, n.files.Certificate("admin.conf"))); got != want {
		t.Error("the copy does not hold the new certificate")
	}
	if steps := strings.Join(n.done(), " "); strings.Contains(steps, "renew") {
		t.Errorf("something was renewed: %s", steps)
	}
}
