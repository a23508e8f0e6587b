package renew_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// cutOff makes a run of this node end while kubeadm is renewing a certificate, as if
// the process had been killed: the record is what it was when kubeadm wrote.
func (n *fakeNode) cutOff(name, damage string) {
	n.t.Helper()
	kept := filepath.Join(n.dir, "cut")
	pods, unit := maps.Clone(n.pods), n.unit
	n.instead(name, "cp -a "+n.State.Dir+" "+kept+"\n"+damage+"\ncp -a "+n.files.Root+" "+kept+"-files")
	if _, _, err := n.Act(n.t.Context(), renew.Wish{Names: []string{name}}, "timer"); err == nil {
		n.t.Log("the run ended well before it was cut off")
	}
	n.mustDo(os.RemoveAll(n.State.Dir), os.Rename(kept, n.State.Dir),
		os.RemoveAll(n.files.Root), os.Rename(kept+"-files", n.files.Root),
		os.Remove(filepath.Join(n.dir, "instead-"+name)))
	n.steps, n.pods, n.unit = nil, pods, unit
}

func (n *fakeNode) mustDo(errs ...error) {
	n.t.Helper()
	if err := errors.Join(errs...); err != nil {
		n.t.Fatal(err)
	}
}

func (n *fakeNode) read(file string) []byte {
	n.t.Helper()
	content, err := os.ReadFile(file)
	n.mustDo(err)
	return content
}

// A run that is cut off while kubeadm writes leaves nothing that the next start does
// not put right.
func TestRecover(t *testing.T) {
	t.Parallel()
	certificate := func(n *fakeNode) string { return n.files.Certificate("apiserver") }
	tests := []struct {
		name   string
		damage func(*fakeNode) string
		kept   bool // the new certificate stays
		found  string
	}{
		{"before kubeadm wrote", func(*fakeNode) string { return "" }, false, "0 were put back"},
		{"between key and certificate", func(n *fakeNode) string {
			return "cp " + filepath.Join(n.dir, "new/apiserver/etc/kubernetes/pki/apiserver.key") + " " + n.files.Key("apiserver")
		}, false, "1 were put back (apiserver)"},
		{"in the middle of the certificate", func(n *fakeNode) string { return ": >" + certificate(n) }, false, "1 were put back (apiserver)"},
		{"the certificate is gone", func(n *fakeNode) string { return "rm " + certificate(n) }, false, "1 were put back (apiserver)"},
		{"after both", func(n *fakeNode) string { return "cp -r " + n.dir + "/new/apiserver/. " + n.files.Root + "/" }, true, "new and valid (admin.conf, apiserver), 0 were put back"},
		{"after both, and a name is lost", func(n *fakeNode) string {
			n.loseName()
			return "cp -r " + n.dir + "/new/apiserver/. " + n.files.Root + "/"
		}, false, "1 were put back (apiserver)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newFakeNode(t)
			before := [][]byte{n.read(n.files.Certificate("apiserver")), n.read(n.files.Key("apiserver"))}
			n.cutOff("apiserver", tt.damage(n))
			if err := n.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			after := [][]byte{n.read(n.files.Certificate("apiserver")), n.read(n.files.Key("apiserver"))}
			for i := range before {
				if bytes.Equal(before[i], after[i]) == tt.kept {
					t.Errorf("file %d is as before: %t, want the new one kept: %t", i, !tt.kept, tt.kept)
				}
			}
			runs, err := n.State.History()
			if err != nil || len(runs) != 1 || runs[0].Outcome != renew.Failed || !strings.Contains(runs[0].Error, tt.found) {
				t.Fatalf("history %+v, %v; want one run that failed with %q", runs, err, tt.found)
			}
			if err := n.Recover(t.Context()); err != nil {
				t.Errorf("again: %v", err)
			}
			if runs, _ := n.State.History(); len(runs) != 1 || len(runs[0].Entries) == 0 {
				t.Errorf("again: history %+v; want nothing more", runs)
			}
			// Everything ends well once it is not cut off.
			n.prepareAndKeep("apiserver", func() { n.files.Issue("apiserver", n.Now().Add(-time.Minute), n.Now().Add(365*day)) })
			if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
				t.Error(err)
			}
			if plan := n.Look(t.Context(), renew.Wish{}).Plan; plan.Work() {
				t.Errorf("in the end there is still to do: %+v", plan)
			}
		})
	}
}

// The loop recovers before it looks, and every run before it begins.
func TestActRecovers(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.cutOff("apiserver", ": >"+n.files.Certificate("apiserver"))
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(alone, n.done()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// A record that cannot be read is set aside. What is not usable now is put back from
// the newest snapshot; what somebody changed since is not touched.
func TestRecoverWithoutRecord(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	before := n.read(n.files.Certificate("apiserver"))
	n.cutOff("apiserver", ": >"+n.files.Certificate("apiserver"))
	records, _ := filepath.Glob(filepath.Join(n.State.Dir, "runs", "*.jsonl"))
	n.mustDo(os.WriteFile(records[0], append(make([]byte, 512), "{}\n{}\n"...), 0o600))
	n.prepareAndKeep("admin.conf", func() { n.files.Issue("admin.conf", n.Now().Add(-day), n.Now().Add(9*day)) })
	n.mustDo(os.WriteFile(n.files.Certificate("admin.conf"), n.read(filepath.Join(n.dir, "new/admin.conf/etc/kubernetes/admin.conf")), 0o600))
	changed := n.read(n.files.Certificate("admin.conf"))

	if err := n.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := n.read(n.files.Certificate("apiserver")); !bytes.Equal(got, before) {
		t.Error("the empty certificate was not put back")
	}
	if got := n.read(n.files.Certificate("admin.conf")); !bytes.Equal(got, changed) {
		t.Error("a certificate that works was put back")
	}
	if aside, _ := filepath.Glob(filepath.Join(n.State.Dir, "runs", "*.unreadable")); len(aside) != 1 {
		t.Errorf("set aside: %q, want one record", aside)
	}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Errorf("it blocks: %v", err)
	}
}

// What could not be put back, because the disk was full for one, is put back as soon as
// it can be; until then no run changes more.
func TestPutBackOnceItCanBe(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	file := n.files.Certificate("scheduler.conf")
	before := n.read(file)
	// A directory stands for whatever keeps the file from being written.
	n.instead("scheduler.conf", "rm "+file+"; mkdir -p "+file+"/full; exit 1")
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err == nil || !strings.Contains(err.Error(), "could not be put back") {
		t.Fatalf("error %v, want the one about what could not be put back", err)
	}
	calls := len(n.calls())
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err == nil || !strings.Contains(err.Error(), "must be put right first") {
		t.Errorf("the next run: error %v", err)
	}
	if n := len(n.calls()) - calls; n != 0 {
		t.Errorf("the next run called kubeadm %d times", n)
	}
	n.mustDo(os.RemoveAll(file))
	if err := n.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := n.read(file); !bytes.Equal(got, before) {
		t.Error("it was not put back")
	}
	if runs, err := n.State.History(); err != nil || runs[0].Outcome != renew.Failed {
		t.Errorf("history %+v (%v): want that the run has ended", runs, err)
	}
}

// Without its snapshot nothing can be put back; that is said, and blocks nobody else.
func TestRecoverWithoutSnapshot(t *testing.T) {
	t.Parallel()
	for _, damage := range []string{"gone", "changed"} {
		t.Run(damage, func(t *testing.T) {
			n := newFakeNode(t)
			n.cutOff("apiserver", ": >"+n.files.Certificate("apiserver"))
			copies, _ := filepath.Glob(filepath.Join(n.State.Dir, "snapshots", "*", "etc/kubernetes/pki/apiserver.crt"))
			if damage == "gone" {
				n.mustDo(os.RemoveAll(filepath.Join(n.State.Dir, "snapshots")))
			} else {
				n.mustDo(os.WriteFile(copies[0], []byte("nothing"), 0o600))
			}
			if err := n.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			runs, _ := n.State.History()
			if len(runs) != 1 || !strings.Contains(runs[0].Error, "1 cannot be used and there is no good copy (apiserver)") {
				t.Errorf("history %+v does not say so", runs)
			}
			_, look, err := n.Act(t.Context(), renew.Wish{}, "timer")
			if err == nil || !strings.Contains(err.Error(), "kube-apiserver is not restarted") {
				t.Errorf("error %v, want the one about what would read it", err)
			}
			if slices.ContainsFunc(n.done(), func(s string) bool { return strings.HasPrefix(s, "stop kube-apiserver") }) {
				t.Errorf("kube-apiserver was stopped: %q", n.done())
			}
			if !slices.Contains(n.calls(), "scheduler.conf") {
				t.Errorf("the others were not renewed: %q", n.calls())
			}
			if c, _ := look.Observation.Certificate("apiserver"); c.State != pki.Invalid {
				t.Errorf("apiserver is %s", c.State)
			}
		})
	}
}
