package renew_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// startedAgain makes a kubelet that was started 40 s ago remember a component.
func (n *fakeNode) startedAgain(name string, ago time.Duration) {
	n.unit.Started = n.Now().Add(-40 * time.Second)
	n.files.Touch(n.Now().Add(-355 * pkitest.Day))
	c := n.pods[name]
	c.Restarts, c.Started = 1, n.Now().Add(-ago)
	n.pods[name] = c
}

func TestKubeletFirst(t *testing.T) {
	again := func(name string, ago time.Duration) func(*fakeNode) {
		return func(n *fakeNode) { n.startedAgain(name, ago) }
	}
	tests := []struct {
		name   string
		change func(*fakeNode)
		says   []string // why the kubelet goes first
		steps  []string
	}{
		{"nothing was started lately", func(*fakeNode) {}, nil, helped[:2]},
		{"started again a minute ago", again(renew.Scheduler, 20*time.Second),
			[]string{"kube-scheduler was started again 20", "remembers that for 10m"}, append([]string{"restart kubelet"}, helped[:2]...)},
		{"longer ago than the kubelet remembers", func(n *fakeNode) {
			n.startedAgain(renew.Scheduler, 11*time.Minute)
			n.unit.Started = n.Now().Add(-time.Hour)
			n.Policy.Restart.Of = map[string]renew.RestartPolicy{renew.Kubelet: renew.RestartAuto}
		}, nil, helped[:2]},
		{"another component", again(renew.ControllerManager, 20*time.Second), nil, helped[:2]},
		{"started for the first time", func(n *fakeNode) {
			n.startedAgain(renew.Scheduler, 20*time.Second)
			c := n.pods[renew.Scheduler]
			c.Restarts = 0
			n.pods[renew.Scheduler] = c
		}, nil, helped[:2]},
		{"the kubelet was restarted since", func(n *fakeNode) {
			n.startedAgain(renew.Scheduler, 20*time.Second)
			n.unit.Started = n.Now().Add(-10 * time.Second)
		}, nil, helped[:2]},
		{"the kubelet is not to be restarted", func(n *fakeNode) {
			n.startedAgain(renew.Scheduler, 20*time.Second)
			n.Policy.Restart.Of = map[string]renew.RestartPolicy{renew.Kubelet: renew.RestartNever}
		}, []string{"kube-scheduler was started again"}, helped[:2]},
		{"the API server would let the kubelet hang", func(n *fakeNode) {
			n.startedAgain(renew.Scheduler, 20*time.Second)
			tried := false
			n.await = func(_ context.Context, name string, _ func(string)) error {
				// It answered when the gates were asked, and does again when the scheduler is back.
				if stopped := len(n.rest()) > 0; name == renew.APIServer && tried && !stopped {
					return errors.New("readyz: 500: etcd failed")
				}
				return nil
			}
			n.Credentials = whileTrying{&servers{}, func(string) { tried = true }}
		}, []string{"kube-scheduler was started again"}, helped[:2]},
		{"the kubelet could not start again", func(n *fakeNode) {
			n.startedAgain(renew.Scheduler, 20*time.Second)
			// Its certificate runs out when the gates have been asked.
			n.Credentials = whileTrying{&servers{}, func(string) {
				n.files.Issue("kubelet-client", n.Now().Add(-30*pkitest.Day), n.Now().Add(-time.Second))
			}}
		}, []string{"kube-scheduler was started again"}, helped[:2]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := schedulerOnly(t)
			tt.change(n)
			_, look, err := n.Act(t.Context(), renew.Wish{}, "timer")
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.says {
				if !strings.Contains(look.Plan.KubeletFirst, want) {
					t.Errorf("the plan says %q, want %q", look.Plan.KubeletFirst, want)
				}
			}
			if tt.says == nil && look.Plan.KubeletFirst != "" {
				t.Errorf("the plan says %q", look.Plan.KubeletFirst)
			}
			if diff := cmp.Diff(tt.steps, n.rest()); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

// Nothing is stopped when the kubelet does not come back: nobody would start it again.
func TestKubeletFirstDoesNotComeBack(t *testing.T) {
	n := schedulerOnly(t)
	n.startedAgain(renew.Scheduler, 20*time.Second)
	n.Restarts.Kubelet = 300 * time.Millisecond
	n.kubeletHealthy = func() error {
		if n.unit.ID == "kubelet-2" {
			return context.DeadlineExceeded
		}
		return nil
	}
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "nothing else is stopped: the kubelet was restarted and is not healthy") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"restart kubelet"}, n.rest()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}
