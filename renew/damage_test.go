package renew_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// sound is a node on which nothing is to be done, with or without a snapshot of it.
func sound(t *testing.T, kept bool) *fakeNode {
	t.Helper()
	n := newFakeNode(t)
	n.only("nothing")
	n.mustDo(n.Remember(t.Context()), n.Note(), os.Remove(n.dir+"/calls"))
	if kept {
		n.mustDo(n.Keep(n.Observe(t.Context(), n.Now())))
	}
	return n
}

// empty makes files of a node empty; remove takes them away.
func empty(paths ...string) func(*fakeNode) {
	return func(n *fakeNode) {
		for _, path := range paths {
			n.mustDo(os.Truncate(n.files.Path(path), 0))
		}
	}
}

func remove(paths ...string) func(*fakeNode) {
	return func(n *fakeNode) {
		for _, path := range paths {
			n.mustDo(os.Remove(n.files.Path(path)))
		}
	}
}

func both(changes ...func(*fakeNode)) func(*fakeNode) {
	return func(n *fakeNode) {
		for _, change := range changes {
			change(n)
		}
	}
}

// foreignLeaf replaces a certificate by one that another cluster's CA has signed.
func foreignLeaf(name string) func(*fakeNode) {
	return func(n *fakeNode) {
		other := pkitest.New(n.t, n.Now().Add(-time.Hour))
		n.mustDo(os.WriteFile(n.files.Key(name), n.read(other.Key(name)), 0o600),
			os.WriteFile(n.files.Certificate(name), n.read(other.Certificate(name)), 0o600))
	}
}

const (
	apiserverCertificate = "/etc/kubernetes/pki/apiserver.crt"
	apiserverKey         = "/etc/kubernetes/pki/apiserver.key"
	schedulerConf        = "/etc/kubernetes/scheduler.conf"
	adminConf            = "/etc/kubernetes/admin.conf"
)

// authorities are the CAs that a kubeconfig has embedded.
func authorities(t *testing.T, content []byte) string {
	t.Helper()
	_, rest, _ := strings.Cut(string(content), "certificate-authority-data: ")
	data, _, _ := strings.Cut(rest, "\n")
	cas, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		t.Fatal(err)
	}
	return string(cas)
}

// What is damaged is put back from a snapshot, made anew, or said; what is not is left
// alone.
func TestDamageDecided(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		certificate string
		kept        bool // there is a snapshot from before
		damage      func(*fakeNode)
		wish        []string
		repair      string // "", "restore", "restore and renew", "make", or "renew" as ever
		reason      string
	}{
		{"a certificate is empty", "apiserver", true, empty(apiserverCertificate), nil, "restore", "is empty; restored from snapshot "},
		{"and there is no snapshot", "apiserver", false, empty(apiserverCertificate), nil, "make", "is empty; made anew by kubeadm: no snapshot has a good copy"},
		{"a certificate is truncated", "apiserver", true, func(n *fakeNode) { n.mustDo(os.Truncate(n.files.Path(apiserverCertificate), 200)) }, nil, "restore", "or a truncated one; restored"},
		{"a certificate is gone", "etcd-server", true, remove("/etc/kubernetes/pki/etcd/server.crt"), nil, "restore", "there is no such file; restored"},
		{"certificate and key are gone", "etcd-server", false, remove("/etc/kubernetes/pki/etcd/server.crt", "/etc/kubernetes/pki/etcd/server.key"), nil, "make", "there is no such file; made anew"},
		{"only its key is gone", "apiserver", true, remove(apiserverKey), nil, "renew", "renewing makes a new pair"},
		{"only its key is empty", "apiserver", true, empty(apiserverKey), nil, "renew", "renewing makes a new pair"},
		{"its key is gone and the CA's is not here", "apiserver", true, remove(apiserverKey, "/etc/kubernetes/pki/ca.key"), nil, "restore", "restored"},
		{"a kubeconfig is truncated", "scheduler.conf", true, func(n *fakeNode) { n.mustDo(os.Truncate(n.files.Path(schedulerConf), 300)) }, nil, "restore", "restored"},
		{"a kubeconfig is empty", "scheduler.conf", false, empty(schedulerConf), nil, "make", "made anew"},
		{"a kubeconfig is gone", "scheduler.conf", false, remove(schedulerConf), nil, "make", "made anew"},
		{"an empty directory is in its place", "scheduler.conf", true, both(remove(schedulerConf), func(n *fakeNode) { n.mustDo(os.Mkdir(n.files.Path(schedulerConf), 0o755)) }), nil, "restore", "is no regular file (d---------); restored"},
		{"another CA has signed it", "apiserver", true, foreignLeaf("apiserver"), nil, "restore", "it is not signed by its CA ca; restored"},
		{"another CA has signed it, and there is no snapshot", "apiserver", false, foreignLeaf("apiserver"), nil, "make", "made anew"},
		{"its CA or itself is foreign", "front-proxy-client", false, foreignLeaf("front-proxy-client"), nil, "", "cannot be told which of the two is the wrong one"},
		{"the snapshot is of another CA", "front-proxy-client", true, both(empty("/etc/kubernetes/pki/front-proxy-client.crt"),
			func(n *fakeNode) { n.files.CA("front-proxy-ca", n.Now().Add(-time.Hour), n.Now().Add(3650*day)) }), nil, "make", "made anew"},
		{"no snapshot, and the CA's key is not here", "apiserver", false, both(empty(apiserverCertificate), remove("/etc/kubernetes/pki/ca.key")), nil, "", "no snapshot has a good copy of it, and the key of its CA ca is not on this node"},
		{"no snapshot, and the CA's key is empty", "apiserver", false, both(empty(apiserverCertificate), empty("/etc/kubernetes/pki/ca.key")), nil, "", "the keys of CAs are in no snapshot"},
		{"its CA is damaged, too", "apiserver", true, empty(apiserverCertificate, "/etc/kubernetes/pki/ca.crt"), nil, "", "its CA ca is invalid itself, and comes first"},
		{"a CA is empty", "ca", true, empty("/etc/kubernetes/pki/ca.crt"), nil, "restore", "is empty; restored"},
		{"a CA without a key here is gone", "ca", true, remove("/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/ca.key"), nil, "restore", "there is no such file; restored"},
		{"a CA is empty, and what is here is of another", "front-proxy-ca", true, both(empty("/etc/kubernetes/pki/front-proxy-ca.crt"), remove("/etc/kubernetes/pki/front-proxy-ca.key"),
			foreignLeaf("front-proxy-client")), nil, "", "a CA is never made anew here"},
		{"a CA is empty, and there is no snapshot", "ca", false, empty("/etc/kubernetes/pki/ca.crt"), nil, "", "a CA is never made anew here"},
		{"admin.conf was taken away", "admin.conf", true, remove(adminConf), nil, "", "people take it away on purpose: kubecertd renew admin.conf"},
		{"and is asked for", "admin.conf", true, remove(adminConf), []string{"admin.conf"}, "restore and renew", "and renewed"},
		{"and is asked for without a snapshot", "admin.conf", false, remove(adminConf), []string{"admin.conf"}, "make", "made anew"},
		{"admin.conf is empty", "admin.conf", false, empty(adminConf), nil, "make", "made anew"},
		{"super-admin.conf was taken away", "super-admin.conf", true, remove("/etc/kubernetes/super-admin.conf"), []string{"super-admin.conf"}, "", "there is no such file"},
		{"super-admin.conf is empty", "super-admin.conf", true, empty("/etc/kubernetes/super-admin.conf"), nil, "restore", "restored"},
		{"the copy has run out meanwhile", "apiserver", true, both(empty(apiserverCertificate), muchLater(366*day)), nil, "restore and renew", "and renewed"},
		{"the copy is due", "apiserver", true, both(empty(apiserverCertificate), muchLater(350*day)), nil, "restore and renew", "and renewed"},
		{"the clock is behind", "apiserver", true, func(n *fakeNode) { n.later(-2 * day) }, nil, "", "is the clock right?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := sound(t, tt.kept)
			tt.damage(n)
			plan := n.Look(t.Context(), renew.Wish{Names: tt.wish}).Plan
			got, reason := "", ""
			for _, r := range plan.Renew {
				switch {
				case r.Certificate != tt.certificate:
				case r.Repair == nil:
					got, reason = "renew", r.Reason
				case r.Repair.Snapshot == "":
					got, reason = "make", r.Reason
				default:
					if got, reason = "restore", r.Reason; r.Repair.Renew {
						got = "restore and renew"
					}
				}
			}
			if reason == "" {
				for _, d := range plan.Decisions {
					if d.Certificate == tt.certificate {
						reason = d.Reason
					}
				}
			}
			if got != tt.repair || !strings.Contains(reason, tt.reason) {
				t.Errorf("decided %q because %q, want %q because %q", got, reason, tt.repair, tt.reason)
			}
			for _, r := range plan.Renew {
				if r.Certificate != tt.certificate && r.Repair != nil && !strings.Contains(tt.reason, "comes first") {
					t.Errorf("%s is repaired, too: %s", r.Certificate, r.Reason)
				}
			}
		})
	}
}

// good prepares what kubeadm makes of a certificate for an API server, with all names.
func (n *fakeNode) good(name string, ips ...net.IP) {
	n.prepareAndKeep(name, func() {
		n.files.IssueWith(name, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = n.Now().Add(-time.Minute), n.Now().Add(365*pkitest.Day+time.Hour)
			c.DNSNames = append(c.DNSNames, "kubernetes.default", "kubernetes.default.svc")
			c.IPAddresses = append(c.IPAddresses, ips...)
		})
	})
}

// unlike names the files of the certificates and keys that are not what they were.
func unlike(before, after map[string]string) []string {
	var list []string
	for path, content := range before {
		if after[path] != content {
			list = append(list, path)
		}
	}
	for path := range after {
		if _, was := before[path]; !was {
			list = append(list, path)
		}
	}
	return list
}

// What was damaged is what it was, nothing else has changed, nothing is restarted that
// has read it, and the next look finds nothing to do.
func TestDamageRestored(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*fakeNode){
		"empty certificate": empty(apiserverCertificate), "certificate and key gone": remove(apiserverCertificate, apiserverKey),
		"empty kubeconfig": empty(schedulerConf), "empty CA": empty("/etc/kubernetes/pki/ca.crt"), "CA gone": remove("/etc/kubernetes/pki/etcd/ca.crt"),
		"a directory in its place": both(remove(schedulerConf), func(n *fakeNode) { n.mustDo(os.Mkdir(n.files.Path(schedulerConf), 0o755)) }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := sound(t, true)
			before := contents(t, n.files.Root)
			mode := func() os.FileMode {
				info, err := os.Stat(n.files.Path(schedulerConf))
				n.mustDo(err)
				return info.Mode()
			}
			was := mode()
			damage(n)
			events := n.journal()
			// Neither kubeadm nor a configuration is needed for it.
			n.Kubeadm.Path = "/no/such/kubeadm"
			id, _, err := n.Act(t.Context(), renew.Wish{}, "file")
			if err != nil || id == "" {
				t.Fatalf("run %q: %v", id, err)
			}
			if changed := unlike(before, contents(t, n.files.Root)); len(changed) > 0 || mode() != was {
				t.Errorf("not as before: %q, mode %s", changed, mode())
			}
			for _, step := range n.done() {
				if !strings.HasPrefix(step, "healthy ") {
					t.Errorf("done to a component that has read the same: %s", step)
				}
			}
			if len(events(renew.EventRestored)) != 1 || len(events(renew.EventRenewed)) != 0 {
				t.Errorf("said to be restored %d times, renewed %d times", len(events(renew.EventRestored)), len(events(renew.EventRenewed)))
			}
			if again, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); again != "" || err != nil {
				t.Errorf("the next look does something: %s, %v", again, err)
			}
		})
	}
}

// What no snapshot has is made anew beside its place, with the names that the cluster
// knows the node by, and its holders are restarted.
func TestDamageMadeAnew(t *testing.T) {
	t.Parallel()
	n := sound(t, false)
	n.good("apiserver")
	n.renewAgain("scheduler.conf")
	before := contents(t, n.files.Root)
	both(empty(apiserverCertificate), remove(apiserverKey), empty(schedulerConf))(n)
	n.mustDo(os.Chmod(n.files.Path(schedulerConf), 0o644))
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "file"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"make apiserver", "make scheduler.conf"}, n.calls()); diff != "" {
		t.Errorf("kubeadm (-want +got):\n%s", diff)
	}
	want := map[string]os.FileMode{apiserverCertificate: 0o644, apiserverKey: 0o600, schedulerConf: 0o640}
	for _, path := range unlike(before, contents(t, n.files.Root)) {
		mode, expected := want["/"+path]
		info, err := os.Stat(n.files.Path(path))
		if !expected || err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want one of %v", path, info, err, want)
		}
		delete(want, "/"+path)
	}
	if len(want) > 0 {
		t.Errorf("not made anew: %v", want)
	}
	config := string(n.read(n.dir + "/config-apiserver"))
	for _, text := range []string{"encryptionAlgorithm: ECDSA-P256", "kind: InitConfiguration", "advertiseAddress: 192.0.2.11", "bindPort: 6443", "name: cp1", "criSocket: "} {
		if !strings.Contains(config, text) {
			t.Errorf("kubeadm was not told %q:\n%s", text, config)
		}
	}
	if left, err := os.ReadDir(n.State.Dir + "/workshop"); err == nil {
		t.Errorf("keys were left beside the state: %v", left)
	}
	if again, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); again != "" || err != nil {
		t.Errorf("the next look does something: %s, %v", again, err)
	}
}

// muchLater lets time pass in which the kubelet has rotated its own certificate.
func muchLater(d time.Duration) func(*fakeNode) {
	return func(n *fakeNode) {
		n.later(d)
		n.files.Issue("kubelet-client", n.Now().Add(-day), n.Now().Add(365*day))
	}
}

// What kubeadm makes is looked at before the node sees it.
func TestDamageRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		prepare func(*fakeNode)
		err     string
	}{
		"kubeadm makes nothing": {func(n *fakeNode) { n.instead("apiserver", "true") }, "there is no such file"},
		"kubeadm refuses":       {func(n *fakeNode) { n.instead("apiserver", "echo no config >&2; exit 1") }, "no config"},
		"a name is lacking":     {func(*fakeNode) {}, "was not made for kubernetes.default, kubernetes.default.svc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := sound(t, false)
			empty(apiserverCertificate)(n)
			tt.prepare(n)
			damaged := contents(t, n.files.Root)
			_, _, err := n.Act(t.Context(), renew.Wish{}, "file")
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if changed := unlike(damaged, contents(t, n.files.Root)); len(changed) > 0 || len(n.rest()) > 0 {
				t.Errorf("changed %q, done %q", changed, n.rest())
			}
		})
	}
}

// A kubeconfig that is made anew has the server of the one before, and every CA of
// ca.crt.
func TestDamageKubeconfig(t *testing.T) {
	t.Parallel()
	n := sound(t, false)
	sibling := n.files.Certificate("controller-manager.conf")
	n.mustDo(os.WriteFile(sibling, bytes.Replace(n.read(sibling), []byte("server: https://"), []byte("server: https://local-"), 1), 0o600))
	other := pkitest.New(t, n.Now().Add(-time.Hour))
	bundle := append(n.read(n.files.Certificate("ca")), n.read(other.Certificate("ca"))...)
	n.mustDo(os.WriteFile(n.files.Certificate("ca"), bundle, 0o644))
	n.renewAgain("scheduler.conf")
	remove(schedulerConf)(n)
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "file"); err != nil {
		t.Fatal(err)
	}
	layout, _ := n.Locate()
	o := renew.Observation{Certificates: layout.Read(n.Now())}
	made, _ := o.Certificate("scheduler.conf")
	like, _ := o.Certificate("controller-manager.conf")
	if made.State != pki.OK || made.Server != like.Server {
		t.Errorf("%s (%s) with server %q, want %q", made.State, made.Reason, made.Server, like.Server)
	}
	if got := authorities(t, n.read(n.files.Path(schedulerConf))); got != string(bundle) {
		t.Errorf("its CAs are not those of ca.crt:\n%s", got)
	}
}

// A repair that is cut off leaves nothing that the next start does not put right.
func TestDamageCutOff(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		kept bool
		line string
	}{
		"while it is restored": {true, `"step":"restore apiserver","event":"begin"`},
		"while it is made":     {false, `"step":"renew apiserver","event":"begin"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := sound(t, tt.kept)
			n.good("apiserver")
			both(empty(apiserverCertificate), remove(apiserverKey))(n)
			n.cutOffAt(tt.line, func() error { _, _, err := n.Act(t.Context(), renew.Wish{}, "file"); return err })
			// One of two files had been written, and the workshop was left.
			n.mustDo(os.Truncate(n.files.Path(apiserverCertificate), 0), os.MkdirAll(n.State.Dir+"/workshop", 0o700),
				n.Recover(t.Context()))
			if _, err := os.Stat(n.State.Dir + "/workshop"); err == nil {
				t.Error("the workshop is still there")
			}
			n.later(time.Hour)
			if _, _, err := n.Act(t.Context(), renew.Wish{}, "start"); err != nil {
				t.Fatal(err)
			}
			layout, _ := n.Locate()
			if c, _ := (renew.Observation{Certificates: layout.Read(n.Now())}).Certificate("apiserver"); c.State != pki.OK {
				t.Errorf("it is %s: %s", c.State, c.Reason)
			}
		})
	}
}
