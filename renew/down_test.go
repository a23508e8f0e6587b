package renew_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
)

// It was down when the plan was made, and has come up with the old certificate before the
// new one was there.
func TestRunRestartsWhatCameUpMeanwhile(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	began := time.Now()
	was := n.pods[renew.ControllerManager]
	down := was
	down.Running = false
	n.pods[renew.ControllerManager] = down
	n.listError = func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		if c := n.pods[renew.ControllerManager]; !c.Running && c.ID == was.ID && slices.Contains(n.calls(), "controller-manager.conf") {
			c.Running, c.Started = true, began
			n.pods[renew.ControllerManager] = c
		}
		return nil
	}
	n.onStop = func(string) { n.listError = nil }
	_, look, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{renew.ControllerManager}, look.Plan.Down); diff != "" {
		t.Errorf("down (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(alone, n.done()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}
