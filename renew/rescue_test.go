package renew_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// helped is what is done to a scheduler that does not become healthy.
var helped = []string{"stop kube-scheduler-1", "healthy kube-scheduler",
	"stop kube-scheduler-2", "stop pod of kube-scheduler-2", "restart kubelet", "healthy kube-scheduler"}

// schedulerOnly is a node on which only scheduler.conf is due.
func schedulerOnly(t *testing.T) *fakeNode {
	n := newFakeNode(t)
	n.only("scheduler.conf")
	return n
}

// rest is what was done apart from asking the API server before.
func (n *fakeNode) rest() []string {
	return slices.DeleteFunc(n.done(), func(s string) bool { return s == "healthy "+renew.APIServer })
}

// A component that needs help and then comes back ends the run well, with its new
// certificate.
func TestRescueHelps(t *testing.T) {
	t.Parallel()
	n := schedulerOnly(t)
	n.sick[renew.Scheduler] = true
	n.onStopPod = func(name string) { delete(n.sick, name) }
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(helped, n.rest()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if plan := n.Look(t.Context(), renew.Wish{}).Plan; plan.Work() {
		t.Errorf("the next look plans %+v", plan)
	}
}

// A certificate that is to blame is put back, and the component runs with the old one.
func TestRescueRollsBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		damage func(*fakeNode)
		steps  []string
		err    string
	}{
		{
			"the component complains of it", func(n *fakeNode) {
				n.said = map[string]string{renew.Scheduler: "I1 starting\nE1 unable to load client cert: tls: private key does not match public key\n"}
			}, helped[:2], "kube-scheduler said: E1 unable to load client cert",
		},
		{
			"the file was damaged after it was validated", func(n *fakeNode) {
				n.onStop = func(string) {
					n.onStop = nil
					n.mustDo(os.WriteFile(n.files.Certificate("scheduler.conf"), nil, 0o600))
				}
			}, helped[:2], "scheduler.conf is invalid",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := schedulerOnly(t)
			file := n.files.Certificate("scheduler.conf")
			before := n.read(file)
			n.sick[renew.Scheduler] = true
			n.onStopPod = func(name string) {
				if bytes.Equal(n.read(file), before) {
					delete(n.sick, name)
				}
			}
			tt.damage(n)
			_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
			if err == nil || !strings.Contains(err.Error(), "scheduler.conf put back, and kube-scheduler runs with what it had before") {
				t.Errorf("error %v", err)
			}
			// It is to blame at first sight, so it is helped only once.
			if diff := cmp.Diff(helped, n.rest()); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if !bytes.Equal(n.read(file), before) {
				t.Error("the certificate was not put back")
			}
			// It counts as failed, and nothing is done about it at once.
			look := n.Look(t.Context(), renew.Wish{})
			if f := look.Observation.Failures["renew scheduler.conf"]; f.Count != 1 || !strings.Contains(f.Error, tt.err) {
				t.Errorf("failures %+v, want it to be %q", look.Observation.Failures, tt.err)
			}
			if look.Plan.Work() {
				t.Errorf("the next look plans %+v", look.Plan)
			}
		})
	}
}

// What was there before has run out: putting it back would help nobody.
func TestRescueHolds(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.only("scheduler.conf")
	n.files.Issue("scheduler.conf", n.Now().Add(-366*pkitest.Day), n.Now().Add(-pkitest.Day))
	n.sick[renew.Scheduler] = true
	n.said = map[string]string{renew.Scheduler: "E1 Unauthorized\n"}
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "the one before it has run out: repair it by hand") {
		t.Errorf("error %v", err)
	}
	if slices.ContainsFunc(n.done(), func(s string) bool { return strings.HasPrefix(s, "stop pod") }) {
		t.Errorf("steps %q: it was helped although the evidence was there", n.done())
	}
}

// A component that keeps crashing is not waited for until its time is over.
func TestRescueOfACrashingComponent(t *testing.T) {
	t.Parallel()
	n := schedulerOnly(t)
	n.Restarts.Healthy = time.Hour
	helped, waited := false, 0
	n.onStopPod = func(string) { helped = true }
	n.await = func(ctx context.Context, name string, progress func(string)) error {
		if name != renew.Scheduler || helped {
			return nil
		}
		for ctx.Err() == nil {
			waited++
			n.later(time.Duration(waited) * 2 * time.Second)
			n.mu.Lock()
			c := n.pods[name]
			c.ID, c.Running, c.Detail = c.ID+"x", false, "exited with 1"
			n.pods[name] = c
			n.mu.Unlock()
			progress("connection refused")
		}
		return ctx.Err()
	}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil && !strings.Contains(err.Error(), "not proven") {
		t.Fatal(err)
	}
	if !helped || waited != 3 {
		t.Errorf("helped: %t after %d crashes, want after 3", helped, waited)
	}
	runs, _ := n.State.History()
	content := n.read(filepath.Join(n.State.Dir, "runs", runs[0].ID+".jsonl"))
	if !bytes.Contains(content, []byte(`"escalate kube-scheduler"`)) {
		t.Errorf("the record does not say that it was helped:\n%s", content)
	}
}

// A container runtime that is being restarted is waited for.
func TestStopIsTriedAgain(t *testing.T) {
	t.Parallel()
	n := schedulerOnly(t)
	refused := 2
	n.stopError = func() error {
		if refused--; refused >= 0 {
			return errors.New("containerd is not answering")
		}
		return nil
	}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(helped[:2], n.rest()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// One that never answers is given up, and what it did not stop is neither brought back nor
// helped.
func TestStopIsGivenUp(t *testing.T) {
	t.Parallel()
	n := schedulerOnly(t)
	asked := 0
	n.stopError = func() error {
		asked++
		n.later(time.Duration(asked) * 4 * time.Second)
		return errors.New("containerd is not answering")
	}
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "stop kube-scheduler: containerd is not answering") {
		t.Errorf("error %v", err)
	}
	if asked != 4 || len(n.rest()) > 0 {
		t.Errorf("asked %d times, steps %q; want it to be asked again for ten seconds, every four", asked, n.rest())
	}
}

// Of two that go down together, etcd is not stopped for an API server that could not be,
// and an API server that was stopped for an etcd that could not be is brought back.
func TestStopOfTwo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		refuses func(asked int) bool
		steps   []string
		err     string
	}{
		{"the API server stays", func(asked int) bool { return asked <= 4 }, nil, "stop kube-apiserver: containerd is not answering"},
		{"etcd stays", func(asked int) bool { return asked > 1 }, []string{"stop kube-apiserver-1", "grace 1s", "healthy kube-apiserver"},
			"stop etcd: containerd is not answering"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newFakeNode(t)
			asked := 0
			n.stopError = func() error {
				asked++
				n.later(time.Duration(asked) * 4 * time.Second)
				if !tt.refuses(asked) {
					return nil
				}
				return errors.New("containerd is not answering")
			}
			_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if diff := cmp.Diff(tt.steps, n.done()); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

// What became stale during the run is not restarted by it: its gates were not asked for.
func TestRunRestartsNoMoreThanPlanned(t *testing.T) {
	t.Parallel()
	n := schedulerOnly(t)
	n.Credentials = tried(func() {})
	n.prepareAndKeep("apiserver", func() { n.files.Issue("apiserver", n.Now().Add(-time.Minute), n.Now().Add(365*pkitest.Day)) })
	n.instead("scheduler.conf", "cp -r "+n.dir+"/new/scheduler.conf/. "+n.files.Root+"/; cp -r "+n.dir+"/new/apiserver/. "+n.files.Root+"/")
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(helped[:2], n.rest()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if plan := n.Look(t.Context(), renew.Wish{}).Plan; len(plan.Restart) != 1 || plan.Restart[0].Component != renew.APIServer {
		t.Errorf("the next look restarts %+v, want kube-apiserver", plan.Restart)
	}
}
