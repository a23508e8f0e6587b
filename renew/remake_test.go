package renew_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

const own = "kubelet-server"

// newKubeletNode is a node on which only the kubelet's own serving certificate is due,
// with a kubelet that serves it and makes another as the real one does: at its start,
// if neither file is there.
func newKubeletNode(t *testing.T) *fakeNode {
	t.Helper()
	n := newFakeNode(t)
	now := time.Now()
	for _, name := range renewable {
		n.files.Issue(name, now.Add(-355*pkitest.Day), now.Add(335*pkitest.Day))
	}
	n.files.Issue(own, now.Add(-355*pkitest.Day), now.Add(10*pkitest.Day))
	n.files.Touch(now.Add(-355 * pkitest.Day))
	var serving *tls.Certificate
	load := func() {
		if pair, err := tls.LoadX509KeyPair(n.files.Certificate(own), n.files.Key(own)); err == nil {
			serving = &pair
		}
	}
	load()
	_, port, err := net.SplitHostPort(pkitest.Serve(t, &tls.Config{MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			return serving, nil
		}}))
	if err != nil {
		t.Fatal(err)
	}
	n.files.Write("/var/lib/kubelet/config.yaml", "staticPodPath: /etc/kubernetes/manifests\nport: "+port+"\n")
	n.onKubelet = func() {
		if len(n.ownFiles()) == 0 {
			n.makeOwn("cp1", time.Now())
		}
		load()
	}
	return n
}

// makeOwn writes what the kubelet makes for itself.
func (n *fakeNode) makeOwn(host string, at time.Time) {
	n.files.IssueWith(own, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: fmt.Sprintf("%s@%d", host, at.Unix())}
		c.NotBefore, c.NotAfter = at.Add(-time.Hour), at.Add(365*pkitest.Day-time.Hour)
	})
}

// ownFiles are the files of the kubelet's serving certificate.
func (n *fakeNode) ownFiles() map[string]string {
	found := map[string]string{}
	for _, file := range []string{n.files.Certificate(own), n.files.Key(own)} {
		if content, err := os.ReadFile(file); err == nil {
			found[filepath.Base(file)] = string(content)
		}
	}
	return found
}

func (n *fakeNode) own() pki.Certificate {
	c, _ := n.ObserveDisk(n.Now()).Certificate(own)
	return c
}

// What the kubelet made for itself, and nobody renews, is made anew before it runs out,
// and served.
func TestRemakeKubeletServer(t *testing.T) {
	n := newKubeletNode(t)
	old, before := n.ownFiles(), n.own()
	if _, look, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatalf("%v\n%+v", err, look.Plan.Notices)
	}
	if diff := cmp.Diff([]string{"healthy kube-apiserver", "restart kubelet"}, n.done()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if now := n.own(); now.State != pki.OK || now.SHA256 == before.SHA256 || !now.KeyMatches {
		t.Errorf("on disk is %+v", now)
	}
	runs, err := n.State.History()
	if err != nil || len(runs) != 1 || runs[0].Outcome != renew.Done || !cmp.Equal(runs[0].Renewed, []string{own}) || !cmp.Equal(runs[0].Restarted, []string{renew.Kubelet}) {
		t.Errorf("recorded: %+v, %v", runs, err)
	}
	// Nothing is lost.
	for name, content := range old {
		if kept, err := os.ReadFile(filepath.Join(n.State.Dir, "snapshots", runs[0].ID, "var/lib/kubelet/pki", name)); err != nil || string(kept) != content {
			t.Errorf("%s in the snapshot: %v", name, err)
		}
	}
	if plan := n.Look(t.Context(), renew.Wish{}).Plan; plan.Work() || len(plan.Notices) > 0 {
		t.Errorf("afterwards there is still something to do: %+v, notices %q", plan.Restart, plan.Notices)
	}
}

// One that is not the kubelet's own is left alone, and so is one that it does not serve.
func TestRemakeOnlyItsOwn(t *testing.T) {
	for name, change := range map[string]func(*fakeNode){
		"an operator's": func(n *fakeNode) {
			n.files.IssueWith(own, func(c *x509.Certificate) {
				c.Subject, c.NotBefore, c.NotAfter = pkix.Name{CommonName: "cp1.example"}, time.Now().Add(-355*pkitest.Day), time.Now().Add(10*pkitest.Day)
			})
			n.onKubelet()
		},
		"left over": func(n *fakeNode) {
			n.makeOwn("cp1", time.Now().Add(-360*pkitest.Day))
			n.files.Touch(time.Now().Add(-360 * pkitest.Day))
		},
		"named in its configuration": func(n *fakeNode) {
			content, err := os.ReadFile(n.files.Path("/var/lib/kubelet/config.yaml"))
			if err != nil {
				n.t.Fatal(err)
			}
			n.files.Write("/var/lib/kubelet/config.yaml", string(content)+"tlsCertFile: /var/lib/kubelet/pki/kubelet.crt\ntlsPrivateKeyFile: /var/lib/kubelet/pki/kubelet.key\n")
		},
		"restart.policy never": func(n *fakeNode) { n.Policy.Restart.Default = renew.RestartNever },
	} {
		t.Run(name, func(t *testing.T) {
			n := newKubeletNode(t)
			change(n)
			old := n.ownFiles()
			if _, look, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil || look.Plan.Work() {
				t.Errorf("%v, plan %+v", err, look.Plan.Restart)
			}
			if diff := cmp.Diff(old, n.ownFiles()); diff != "" || len(n.done()) > 0 {
				t.Errorf("%v was done (-want +got):\n%s", n.done(), diff)
			}
		})
	}
}

// A kubelet that does not come back with a good one gets its old one back.
func TestRemakePutsBack(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*fakeNode)
		err    string
	}{
		"it does not come back": {func(n *fakeNode) {
			start := n.onKubelet
			n.onKubelet = func() {
				if len(n.ownFiles()) == 2 {
					start()
				}
			}
			n.kubeletHealthy = func() error {
				if len(n.ownFiles()) != 2 {
					return errors.New("connection refused")
				}
				return nil
			}
		}, "connection refused"},
		"nothing can be removed": {func(n *fakeNode) {
			dir := n.files.Path("/var/lib/kubelet/pki")
			if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
				n.t.Skipf("mount: %v", err)
			}
			n.t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				n.t.Skipf("mount: %v", err)
			}
		}, "cannot be written: read-only file system: kubecertd.service needs ReadWritePaths="},
		"it makes none": {func(n *fakeNode) { n.onKubelet = func() {} }, "the kubelet has not made them"},
		"it is another's": {func(n *fakeNode) {
			n.onKubelet = func() {
				if len(n.ownFiles()) == 0 {
					n.makeOwn("cp2", time.Now())
				}
			}
		}, "the name changed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newKubeletNode(t)
			n.Restarts.Kubelet = 300 * time.Millisecond
			tt.change(n)
			old := n.ownFiles()
			_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v does not say %q", err, tt.err)
			}
			if diff := cmp.Diff(old, n.ownFiles()); diff != "" {
				t.Errorf("not as it was (-want +got):\n%s", diff)
			}
			if name == "nothing can be removed" && slices.Contains(n.done(), "restart kubelet") {
				t.Error("the kubelet was restarted for nothing")
			}
			// Not at once again.
			if look := n.Look(t.Context(), renew.Wish{}); look.Plan.Work() || len(look.Plan.Notices) == 0 {
				t.Errorf("the next plan: %+v, notices %q", look.Plan.Restart, look.Plan.Notices)
			}
		})
	}
}

// Cut off between the removal and the kubelet's start, both files are there again and
// belong together, whatever of them was left, and also if the kubelet makes its own
// meanwhile.
func TestRemakeCutOff(t *testing.T) {
	for name, tt := range map[string]struct {
		left func(*fakeNode) // on disk when the daemon starts again
		kept bool            // what the kubelet made stays
	}{
		"neither is there":          {func(*fakeNode) {}, false},
		"only the key":              {func(n *fakeNode) { n.makeOwn("cp1", time.Now()); n.files.Remove(n.files.Certificate(own)) }, false},
		"only the certificate":      {func(n *fakeNode) { n.makeOwn("cp1", time.Now()); n.files.Remove(n.files.Key(own)) }, false},
		"both, new":                 {func(n *fakeNode) { n.makeOwn("cp1", time.Now()) }, true},
		"the kubelet makes its own": {func(n *fakeNode) { time.AfterFunc(500*time.Millisecond, func() { n.makeOwn("cp1", time.Now()) }) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newKubeletNode(t)
			old, before := n.ownFiles(), n.own()
			state := filepath.Join(t.TempDir(), "state")
			n.onKubelet = func() { // the moment at which the power is cut
				if err := copyTree(n.State.Dir, state); err != nil {
					t.Error(err)
				}
				n.onKubelet = nil
			}
			if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err == nil {
				t.Fatal("the run was not disturbed")
			}
			for file := range n.ownFiles() {
				n.files.Remove(n.files.Path("/var/lib/kubelet/pki/" + file))
			}
			n.State.Dir = state
			tt.left(n)
			if err := n.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			now := n.own()
			if now.State != pki.OK || !now.KeyMatches || (now.SHA256 != before.SHA256) != tt.kept || !tt.kept && !cmp.Equal(old, n.ownFiles()) {
				t.Errorf("found %s: %s (%s)", now.State, now.Reason, now.Subject)
			}
			if err := n.inOrder(); err != nil {
				t.Error(err)
			}
		})
	}
}
