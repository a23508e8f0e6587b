package renew_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

func (n *fakeNode) kubeletClient() pki.Certificate {
	c, _ := n.ObserveDisk(n.Now()).Certificate("kubelet-client")
	return c
}

// mustMend carries out what is to be done, and demands that nothing is left.
func (n *fakeNode) mustMend(t *testing.T) renew.Run {
	t.Helper()
	_, look, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err != nil {
		t.Fatalf("%v\n%+v", err, look.Plan)
	}
	c := n.kubeletClient()
	if c.State != pki.OK || c.Path != rotating || c.Kubelet.Embedded || c.Kubelet.Damaged != "" {
		t.Errorf("on disk is %+v, by %+v", c, c.Kubelet)
	}
	if info, err := os.Lstat(n.files.Path(rotating)); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("%s is no link, without which the kubelet does not rotate: %v", rotating, err)
	}
	if info, err := os.Stat(resolve(n, rotating)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v: %v", rotating, info.Mode(), err)
	}
	if plan := n.Look(t.Context(), renew.Wish{}).Plan; plan.Work() || len(plan.Notices) > 0 {
		t.Errorf("afterwards there is still something to do: %+v, %+v, notices %q", plan.Renew, plan.Restart, plan.Notices)
	}
	runs, err := n.State.History()
	if err != nil || len(runs) == 0 {
		t.Fatal(runs, err)
	}
	return runs[0]
}

// What keeps the kubelet from starting, or would, is put right, whatever it is; the API
// server that it talks to stays, and so does all else that is in its kubeconfig.
func TestMendKubelet(t *testing.T) {
	const day = pkitest.Day
	for name, tt := range map[string]struct {
		change  func(*fakeNode)
		printed bool // by kubeadm
		given   bool
		server  string
		keeps   string // in kubelet.conf
	}{
		"expired": {func(n *fakeNode) { n.expireKubelet() }, true, true, "https://api:6443", ""},
		"its file is gone": {func(n *fakeNode) {
			n.files.Remove(resolve(n, rotating))
			n.files.Remove(n.files.Path(rotating))
		}, true, true, "https://api:6443", ""},
		"embedded and valid":   {func(n *fakeNode) { n.embed("cp1", -day, 200*day) }, false, false, "https://192.0.2.11:6443", "# by hand\n"},
		"embedded and expired": {func(n *fakeNode) { n.embed("cp1", -day, -time.Hour); n.expireKubelet() }, true, true, "https://192.0.2.11:6443", "# by hand\n"},
		"embedded, and nothing rotates": {func(n *fakeNode) {
			n.embed("cp1", -day, 200*day)
			n.files.Remove(n.files.Path(rotating))
		}, false, true, "https://192.0.2.11:6443", "# by hand\n"},
		"kubelet.conf is empty": {func(n *fakeNode) { n.files.Write(kubeletConf, "") }, false, false, "https://api:6443", ""},
		"kubelet.conf is cut": {func(n *fakeNode) {
			text := n.embed("cp1", -day, 200*day)
			n.files.Write(kubeletConf, text[:strings.Index(text, "users:")])
		}, false, false, "https://192.0.2.11:6443", ""},
		"both are gone": {func(n *fakeNode) {
			n.files.Remove(n.files.Path(kubeletConf))
			n.files.Remove(n.files.Path(rotating))
		}, true, true, "https://api:6443", ""},
		"it does not rotate": {func(n *fakeNode) { n.stopRotation() }, true, true, "https://api:6443", ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := newCalmNode(t)
			tt.change(n)
			before := n.kubeletClient()
			run := n.mustMend(t)
			if diff := cmp.Diff([]string{"restart kubelet"}, n.done()); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if run.Outcome != renew.Done || !cmp.Equal(run.Renewed, []string{"kubelet-client"}) || !cmp.Equal(run.Restarted, []string{renew.Kubelet}) {
				t.Errorf("recorded: %+v", run)
			}
			c := n.kubeletClient()
			if c.Server != tt.server {
				t.Errorf("the API server is %s, want %s", c.Server, tt.server)
			}
			conf := file(t, n.files.Path(kubeletConf))
			if !strings.HasPrefix(conf, tt.keeps) || strings.Contains(conf, "-key-data") {
				t.Errorf("kubelet.conf is now\n%s", conf)
			}
			printed, _ := os.ReadFile(filepath.Join(n.dir, "printed"))
			if (len(printed) > 0) != tt.printed {
				t.Errorf("kubeadm printed %q", printed)
			}
			if tt.printed && !strings.Contains(string(printed), "kubeconfig user --config "+filepath.Join(n.State.Dir, "cluster-configuration.yaml")+" --org system:nodes --client-name system:node:cp1\n") {
				t.Errorf("kubeadm was asked %q", printed)
			}
			if c.Kubelet.Given != tt.given {
				t.Errorf("given: %t", c.Kubelet.Given)
			}
			// Nothing is lost.
			snap, err := n.State.Snapshot(run.ID)
			if err != nil {
				t.Fatal(err)
			}
			copies := 0
			for _, f := range snap.Files {
				if f.Certificate == "kubelet-client" {
					copies++
				}
			}
			if copies != 2 || before.SHA256 != "" && tt.printed && c.SHA256 == before.SHA256 {
				t.Errorf("%d copies; the certificate was %s and is %s", copies, before.SHA256, c.SHA256)
			}
			// No key is in the record.
			if record := file(t, filepath.Join(n.State.Dir, "runs", run.ID+".jsonl")); strings.Contains(record, "PRIVATE") || strings.Contains(record, "key-data") {
				t.Errorf("the record holds a key:\n%s", record)
			}
		})
	}
}

// With the kubelet everything else has run out: it comes first, and what it has to bring
// back follows at once, in a run of its own.
func TestMendThenTheRest(t *testing.T) {
	n := newFakeNode(t)
	if err := os.WriteFile(n.dir+"/kubeconfig", []byte(n.files.Embedded("cp1", time.Now().Add(-355*pkitest.Day), time.Now().Add(365*pkitest.Day))), 0o600); err != nil {
		t.Fatal(err)
	}
	n.expireKubelet()
	n.kubeletHealthy = func() error {
		if !n.unit.Running {
			return errors.New("connection refused")
		}
		return nil
	}
	run := n.mustMend(t)
	if !cmp.Equal(run.Renewed, []string{"kubelet-client"}) || n.done()[0] != "restart kubelet" {
		t.Errorf("first was renewed %v, and done %v", run.Renewed, n.done())
	}
	runs, err := n.State.History()
	if err != nil || len(runs) != 2 || len(runs[1].Renewed) != len(renewable) || runs[1].Outcome != renew.Done {
		t.Errorf("then: %+v, %v", runs, err)
	}
}

// What kubeadm does not make, or makes wrong, changes nothing; it is tried again later,
// and no key is quoted.
func TestMendRefused(t *testing.T) {
	for name, tt := range map[string]struct{ instead, err string }{
		"kubeadm fails":        {"echo 'CA key not found' >&2; exit 1", "CA key not found"},
		"kubeadm prints a key": {"cat $dir/kubeconfig; exit 1", "exit status 1"},
		"nothing is printed":   {"", "what kubeadm printed"},
		"another CA's":         {"cat $dir/foreign", "it is not signed by its CA ca"},
		"no node's":            {"sed 's/client-/nothing-/' $dir/kubeconfig", "kubeadm printed no client certificate with its key"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newCalmNode(t)
			n.expireKubelet()
			other := pkitest.New(t, time.Now().Add(-pkitest.Day)).Embedded("cp1", time.Now().Add(-pkitest.Day), time.Now().Add(300*pkitest.Day))
			if err := os.WriteFile(n.dir+"/foreign", []byte(other), 0o600); err != nil {
				t.Fatal(err)
			}
			n.instead("kubeconfig", strings.ReplaceAll(tt.instead, "$dir", n.dir))
			conf, pem := file(t, n.files.Path(kubeletConf)), file(t, resolve(n, rotating))
			_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "LS0t") {
				t.Errorf("error %v", err)
			}
			if file(t, n.files.Path(kubeletConf)) != conf || file(t, resolve(n, rotating)) != pem || len(n.done()) > 0 {
				t.Errorf("something was changed, and %v done", n.done())
			}
			p := n.Look(t.Context(), renew.Wish{}).Plan
			if p.Work() || !strings.Contains(p.Notices.String(), "its repair failed once and is tried again") {
				t.Errorf("plan %+v, notices %q", p.Renew, p.Notices)
			}
			if p := n.Look(t.Context(), renew.Wish{Names: []string{"kubelet-client"}}).Plan; !p.Mends() {
				t.Error("asked for by name it is not tried at once")
			}
		})
	}
}

// A kubelet that ran with what it had, and does not start with what it was given, gets
// that back.
func TestMendPutsBack(t *testing.T) {
	n := newCalmNode(t)
	n.embed("cp1", -pkitest.Day, 200*pkitest.Day)
	conf := file(t, n.files.Path(kubeletConf))
	n.kubeletHealthy = func() error {
		if n.unit.ID != "kubelet-1" && file(t, n.files.Path(kubeletConf)) != conf {
			return errors.New("connection refused")
		}
		return nil
	}
	n.Restarts.Kubelet = time.Second
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"restart kubelet", "restart kubelet"}, n.done()); diff != "" || file(t, n.files.Path(kubeletConf)) != conf {
		t.Errorf("kubelet.conf is\n%s\nsteps (-want +got):\n%s", file(t, n.files.Path(kubeletConf)), diff)
	}
	if p := n.Look(t.Context(), renew.Wish{}).Plan; p.Work() {
		t.Errorf("tried again at once: %+v", p.Renew)
	}
}

// The API server, where it can be asked, has to have heard of the kubelet since.
func TestMendIsHeard(t *testing.T) {
	for name, tt := range map[string]struct {
		last func(*fakeNode) (time.Time, error)
		err  bool
	}{
		"heard":         {func(*fakeNode) (time.Time, error) { return time.Now().Add(time.Minute), nil }, false},
		"nobody to ask": {func(*fakeNode) (time.Time, error) { return time.Time{}, errors.New("connection refused") }, false},
		"heard after some": {func(n *fakeNode) (time.Time, error) {
			n.asked++
			return n.unit.Started.Add(time.Duration(n.asked-2) * time.Second), nil
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := newCalmNode(t)
			n.expireKubelet()
			n.Heartbeats = heartbeat(func(node string) (time.Time, error) {
				if node != "cp1" {
					t.Errorf("asked of %s", node)
				}
				return tt.last(n)
			})
			n.mustMend(t)
			if name == "heard after some" && n.asked < 3 {
				t.Errorf("asked %d times", n.asked)
			}
		})
	}
}

type heartbeat func(node string) (time.Time, error)

func (h heartbeat) Last(_ context.Context, node string) (time.Time, error) { return h(node) }

// frozen is a node as it was when kubecertd was killed.
type frozen struct{ root, state string }

func (n *fakeNode) freeze() frozen {
	f := frozen{filepath.Join(n.t.TempDir(), "root"), filepath.Join(n.t.TempDir(), "state")}
	n.mustDo(copyTree(n.files.Root, f.root), copyTree(n.State.Dir, f.state))
	return f
}

func (n *fakeNode) thaw(f frozen) {
	n.mustDo(os.RemoveAll(n.files.Root), os.RemoveAll(n.State.Dir), os.Rename(f.root, n.files.Root), os.Rename(f.state, n.State.Dir))
	n.steps, n.onKubelet = nil, nil
}

// A run that was cut off leaves a kubelet that the next look mends, or starts with what
// it was given; what is good is never replaced.
func TestMendCutOff(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*fakeNode)
		left   func(n *fakeNode) // what was on the way when it was cut off before it was done
		kept   bool              // what was written
		again  []string          // what is done then
	}{
		"the kubelet is down, and was not started yet":   {func(n *fakeNode) { n.expireKubelet() }, nil, true, []string{"restart kubelet"}},
		"the kubelet runs with the one from before":      {func(n *fakeNode) { n.stopRotation() }, nil, true, []string{"restart kubelet"}},
		"the kubelet rotates, and kubelet.conf names it": {func(n *fakeNode) { n.embed("cp1", -pkitest.Day, 200*pkitest.Day) }, nil, true, nil},
		"nothing was written yet":                        {func(n *fakeNode) { n.expireKubelet() }, func(*fakeNode) {}, false, []string{"restart kubelet"}},
		"half a file": {func(n *fakeNode) { n.expireKubelet() }, func(n *fakeNode) {
			n.files.Write("/var/lib/kubelet/pki/kubelet-client-2026-01-01-00-00-00.pem", "-----BEGIN CERT")
		}, false, []string{"restart kubelet"}},
		"kubelet.conf is half written": {func(n *fakeNode) { n.expireKubelet() }, func(n *fakeNode) {
			n.files.Write(kubeletConf, "apiVersion: v1\nusers: [")
		}, false, []string{"restart kubelet"}},
		"the kubelet has rotated meanwhile": {func(n *fakeNode) { n.embed("cp1", -pkitest.Day, 200*pkitest.Day) }, func(n *fakeNode) {
			n.files.Issue("kubelet-client", time.Now().Add(-time.Minute), time.Now().Add(365*pkitest.Day))
		}, false, []string{"restart kubelet"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newCalmNode(t)
			tt.change(n)
			unit := n.unit
			var cut frozen
			n.onKubelet = func() { cut = n.freeze() }
			n.mustMend(t)
			if tt.left != nil {
				run := filepath.Join(cut.state, "runs")
				records, _ := filepath.Glob(run + "/*.jsonl")
				if len(records) != 1 {
					t.Fatal(records)
				}
				record := file(t, records[0])
				end := strings.Index(record, `"step":"renew kubelet-client","event":"end"`)
				n.mustDo(os.WriteFile(records[0], []byte(record[:strings.LastIndex(record[:end], "\n")+1]), 0o600))
				snap, err := n.State.Snapshot(strings.TrimSuffix(filepath.Base(records[0]), ".jsonl"))
				n.thaw(cut)
				n.mustDo(err)
				for _, f := range snap.Files {
					if f.Certificate == "kubelet-client" && f.Link == "" {
						n.files.Write(f.Path, file(t, filepath.Join(n.State.Dir, "snapshots", snap.ID, f.Path)))
					} else if f.Certificate == "kubelet-client" {
						n.mustDo(os.Remove(n.files.Path(f.Path)), os.Symlink(f.Link, n.files.Path(f.Path)))
					}
				}
				tt.left(n)
			} else {
				n.thaw(cut)
			}
			n.unit = unit
			written := n.kubeletClient().Kubelet.Rotating.SHA256
			if err := n.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			c := n.kubeletClient()
			if good := c.State == pki.OK && !c.Kubelet.Embedded; good != tt.kept && tt.kept || c.Kubelet.Rotating.SHA256 != written {
				t.Errorf("after the recovery it is %s, embedded = %t: %s", c.State, c.Kubelet.Embedded, c.Reason)
			}
			n.later(time.Hour) // what was cut off counts as a failure, and waits a minute
			if _, look, err := n.Act(t.Context(), renew.Wish{}, "start"); err != nil {
				t.Fatalf("%v\n%+v", err, look.Plan)
			}
			done := slices.DeleteFunc(n.done(), func(step string) bool { return strings.HasPrefix(step, "healthy ") })
			if diff := cmp.Diff(tt.again, done, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("then was done (-want +got):\n%s", diff)
			}
			if last := n.kubeletClient(); last.State != pki.OK || last.Kubelet.Embedded || tt.kept && last.SHA256 != c.SHA256 {
				t.Errorf("in the end it is %s: %s", last.State, last.Reason)
			}
			if plan := n.Look(t.Context(), renew.Wish{}).Plan; plan.Work() {
				t.Errorf("there is still something to do: %+v %+v", plan.Renew, plan.Restart)
			}
		})
	}
}

// stopRotation makes the certificate one that the kubelet, which runs, should have
// replaced long ago.
func (n *fakeNode) stopRotation() {
	n.files.Issue("kubelet-client", time.Now().Add(-340*pkitest.Day), time.Now().Add(25*pkitest.Day))
	then := time.Now().Add(-340 * pkitest.Day)
	n.mustDo(os.Chtimes(resolve(n, rotating), then, then))
}
