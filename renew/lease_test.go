package renew_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
)

// fakeLeases are leases of which this node holds all.
type fakeLeases struct {
	n       *fakeNode
	holdErr error
	err     error
}

func (l fakeLeases) Hold(_ context.Context, component string) (func(context.Context) (bool, error), error) {
	l.n.step("hold " + component)
	if l.holdErr != nil {
		return nil, l.holdErr
	}
	return func(context.Context) (bool, error) {
		l.n.step("release " + component)
		return l.err == nil, l.err
	}, nil
}

// A stopped leader's lease is given up when it is stopped, and whatever comes of that
// does not keep the restarts from going on.
func TestRunReleasesLeases(t *testing.T) {
	t.Parallel()
	for name, leases := range map[string]fakeLeases{"released": {}, "refused": {err: errors.New("conflict")}, "unknown": {holdErr: errors.New("forbidden")}} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			leases.n = n
			n.Leases = leases
			if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, step := range alone {
				for _, name := range []string{renew.ControllerManager, renew.Scheduler} {
					if step == "stop "+name+"-1" {
						want = append(want, "hold "+name, step)
						if leases.holdErr == nil {
							want = append(want, "release "+name)
						}
						step = ""
					}
				}
				if step != "" {
					want = append(want, step)
				}
			}
			if diff := cmp.Diff(want, n.done()); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}
