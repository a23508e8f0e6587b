package renew_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// What kubeadm wrote and was refused is put back, is never loaded by anybody, and
// does not keep the others from being renewed and loaded: not now, and not at the
// next look.
func TestRunPutsBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		damage func(*fakeNode)
		steps  []string // of the first run
		err    string
	}{
		{"an empty certificate", func(n *fakeNode) { n.instead("apiserver", ": > "+n.files.Certificate("apiserver")) },
			alone, "apiserver.crt is invalid after the renewal: is empty"},
		{"a lost name", func(n *fakeNode) { n.loseName() }, alone, "the new certificate lost DNS names: kubernetes"},
		{"due again at once", func(n *fakeNode) {
			n.prepareAndKeep("apiserver", func() { n.files.Issue("apiserver", n.Now().Add(-300*day), n.Now().Add(20*day)) })
		}, alone, "would be due again at once"},
		// admin.conf was renewed before it, which nobody holds.
		{"killed between key and certificate", func(n *fakeNode) {
			n.instead("apiserver", "cp "+filepath.Join(n.dir, "new/apiserver/etc/kubernetes/pki/apiserver.key")+" "+n.files.Key("apiserver")+"; kill -9 $$")
		}, nil, "signal: killed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newFakeNode(t)
			tt.damage(n)
			files := []string{n.files.Certificate("apiserver"), n.files.Key("apiserver")}
			var before [][]byte
			for _, file := range files {
				content, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				before = append(before, content)
			}
			for run, steps := range [][]string{tt.steps, nil} {
				n.steps = nil
				n.later(time.Duration(run) * time.Hour)
				_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("run %d: error %v does not say %q", run, err, tt.err)
				}
				if diff := cmp.Diff(steps, n.done()); diff != "" {
					t.Errorf("run %d: steps (-want +got):\n%s", run, diff)
				}
				for i, file := range files {
					if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, before[i]) {
						t.Errorf("run %d: %s is not as it was: %v", run, file, err)
					}
				}
			}
		})
	}
}

// A kubeadm that hangs is killed, what it left is put back, and it is not called again in
// this run; all that it would have renewed has failed and waits together.
func TestRunWithAKubeadmThatHangs(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.Kubeadm.Timeout = time.Second
	file := n.files.Certificate("apiserver")
	before := n.read(file)
	n.instead("apiserver", ": >"+file+"; sleep 600")
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "did not end within 1s and was killed") || !strings.Contains(err.Error(), "kubeadm cannot be relied on") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(renewable[:2], n.calls()); diff != "" {
		t.Errorf("kubeadm renewed (-want +got):\n%s", diff)
	}
	if !bytes.Equal(n.read(file), before) {
		t.Error("it was not put back")
	}
	look := n.Look(t.Context(), renew.Wish{})
	for _, name := range renewable[1:] {
		if f := look.Observation.Failures["renew "+name]; f.Count != 1 {
			t.Errorf("%s has failed %d times, want once", name, f.Count)
		}
	}
	if look.Plan.Work() || len(n.done()) > 0 {
		t.Errorf("the next look plans %+v after %q; want it to wait", look.Plan, n.done())
	}
}

// prepareAndKeep prepares what kubeadm will write, and leaves the node as it is.
func (n *fakeNode) prepareAndKeep(name string, change func()) {
	n.t.Helper()
	files := []string{n.files.Certificate(name), n.files.Key(name)}
	var contents [][]byte
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			n.t.Fatal(err)
		}
		contents = append(contents, content)
	}
	n.prepare(name, change)
	for i, file := range files {
		if err := os.WriteFile(file, contents[i], 0o600); err != nil {
			n.t.Fatal(err)
		}
	}
	n.files.Touch(n.Now().Add(-355 * pkitest.Day))
}

// The kubelet's self-signed certificate is made once and never again; on a cluster
// older than a year it has expired, and nothing depends on it.
func TestRunWithExpiredKubeletServer(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.files.Issue("kubelet-server", n.Now().Add(-400*pkitest.Day), n.Now().Add(-35*pkitest.Day))
	n.files.Touch(n.Now().Add(-355 * pkitest.Day))
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(alone, n.done()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// A component that is down because its certificate has expired is what a renewal is
// for.
func TestRunCuresAComponentThatIsDown(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.files.Issue("scheduler.conf", n.Now().Add(-366*pkitest.Day), n.Now().Add(-pkitest.Day))
	c := n.pods[renew.Scheduler]
	c.Running, c.Detail = false, "exited with 1"
	n.pods[renew.Scheduler] = c
	n.onHealthy = func(name string) {
		if name == renew.Scheduler { // the kubelet has brought it back
			n.mu.Lock()
			defer n.mu.Unlock()
			c.ID, c.Running, c.Started = "kube-scheduler-2", true, time.Now()
			n.pods[renew.Scheduler] = c
		}
	}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	if after := n.Look(t.Context(), renew.Wish{}); after.Plan.Work() {
		t.Errorf("the next look plans %+v", after.Plan)
	}
	for _, step := range n.done() {
		if strings.HasPrefix(step, "stop kube-scheduler") {
			t.Errorf("a component that was down was stopped: %q", n.done())
		}
	}
}

// A run that cannot see the components does not end well, and says so.
func TestRunBlinded(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.listError = func() error {
		if len(n.calls()) > 0 { // from the first renewal on
			return errors.New("context deadline exceeded")
		}
		return nil
	}
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "the components cannot be seen: context deadline exceeded") || len(n.done()) > 0 {
		t.Errorf("error %v, steps %q", err, n.done())
	}
	n.listError = nil
	if plan := n.Look(t.Context(), renew.Wish{}).Plan; len(plan.Restart) != len(renew.Order) {
		t.Errorf("the next look restarts %+v, want all", plan.Restart)
	}
}

// Being told to stop during the last renewal ends the run before the restarts, which
// follow at the next start.
func TestRunToldToStopDuringTheLastRenewal(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	n.listError = func() error {
		if len(n.calls()) == len(renewable) {
			cancel()
		}
		return nil
	}
	_, _, err := n.Act(ctx, renew.Wish{}, "timer")
	if !errors.Is(err, context.Canceled) || len(n.done()) > 0 {
		t.Errorf("error %v, steps %q; want it to stop before the restarts", err, n.done())
	}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "start"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(alone, n.done()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// The other members of etcd are asked again just before this one is stopped.
func TestRunAsksForTheQuorumAgain(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.peers = []string{"cp2", "cp3"}
	n.listError = func() error {
		if len(n.calls()) > 0 {
			n.unhealthy = map[string]string{"cp2": "does not answer"}
		}
		return nil
	}
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "etcd not stopped") || !strings.Contains(err.Error(), "cp2:does not answer") || len(n.done()) > 0 {
		t.Errorf("error %v, steps %q; want nothing stopped", err, n.done())
	}
}

// An etcd that cannot be asked closes the gate for the API server as well, unless it
// cannot be asked because its certificate has run out.
func TestRunWhenEtcdCannotBeAsked(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.peersError = errors.New("tls: certificate has expired")
	n.only("front-proxy-client")
	n.mu.Lock()
	for name, c := range n.pods {
		if c.Name == renew.APIServer {
			c.Started = n.Now().Add(-354 * pkitest.Day)
			n.pods[name] = c
		}
	}
	n.mu.Unlock()
	var blocked *renew.BlockedError
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); !errors.As(err, &blocked) || blocked.Gates[0].Name != "etcd" {
		t.Errorf("error %v, want it blocked by etcd", err)
	}

	n = newFakeNode(t)
	n.peersError = errors.New("tls: certificate has expired")
	n.files.Issue("etcd-server", n.Now().Add(-366*pkitest.Day), n.Now().Add(-pkitest.Day))
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	if plan := n.Look(t.Context(), renew.Wish{}).Plan; plan.Work() {
		t.Errorf("the next look plans %+v", plan)
	}
}
