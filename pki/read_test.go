package pki_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
)

const day = pkitest.Day

// now is the time of every look in this package's tests; nodes are issued at it.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// read looks at a node at a time.
func read(t *testing.T, n *pkitest.Node, at time.Time) map[string]pki.Certificate {
	t.Helper()
	l, problems := pki.Locate(pki.Options{Root: n.Root})
	for _, p := range problems {
		t.Errorf("problem: %v", p)
	}
	byName := map[string]pki.Certificate{}
	for _, c := range l.Read(at) {
		byName[c.Name] = c
	}
	return byName
}

func TestReadHealthyNode(t *testing.T) {
	n := pkitest.New(t, now)
	l, problems := pki.Locate(pki.Options{Root: n.Root})
	if len(problems) > 0 || !l.ControlPlane || !l.LocalEtcd {
		t.Fatalf("located %+v, %v", l, problems)
	}
	var names []string
	for _, c := range l.Read(now.Add(day)) {
		names = append(names, c.Name)
		if c.State != pki.OK || c.Reason == "" {
			t.Errorf("%s is %s (%s)", c.Name, c.State, c.Reason)
		}
		if !c.KeyMatches || c.Serial == "" || len(c.SHA256) != 64 || c.Subject == "" || c.Issuer == "" {
			t.Errorf("%s is described as %+v", c.Name, c)
		}
		if c.Renewer == pki.Kubeadm && !c.CAKeyHere {
			t.Errorf("%s: its CA key is there and not seen", c.Name)
		}
		if !c.Changed.Equal(now) {
			t.Errorf("%s changed %s, want %s", c.Name, c.Changed, now)
		}
	}
	want := []string{"admin.conf", "apiserver", "apiserver-etcd-client", "apiserver-kubelet-client", "controller-manager.conf",
		"etcd-healthcheck-client", "etcd-peer", "etcd-server", "front-proxy-client", "scheduler.conf", "super-admin.conf",
		"kubelet-client", "kubelet-server", "ca", "etcd-ca", "front-proxy-ca"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}

	leaf := n.Issue("apiserver", now, now.Add(100*day))
	api := read(t, n, now)["apiserver"]
	if !slices.Equal(api.DNSNames, leaf.DNSNames) || !slices.Equal(api.IPs, []string{"127.0.0.1", "192.0.2.11"}) ||
		!slices.Equal(api.Usages, []string{"client auth", "server auth"}) || api.Path != "/etc/kubernetes/pki/apiserver.crt" ||
		api.KeyPath != "/etc/kubernetes/pki/apiserver.key" || api.CA != "ca" || !api.NotAfter.Equal(now.Add(100*day)) {
		t.Errorf("apiserver is described as %+v", api)
	}
	if c := read(t, n, now)["kubelet-client"]; c.Path != "/var/lib/kubelet/pki/kubelet-client-current.pem" || c.Renewer != pki.Kubelet {
		t.Errorf("kubelet-client is described as %+v", c)
	}
}

// Each row breaks one thing on a healthy node. Certificates that are not named stay
// ok: nothing spreads.
func TestStates(t *testing.T) {
	empty := func(file func(*pkitest.Node) string) func(*testing.T, *pkitest.Node) {
		return func(t *testing.T, n *pkitest.Node) { overwrite(t, file(n), "") }
	}
	certificate := func(name string) func(*pkitest.Node) string {
		return func(n *pkitest.Node) string { return n.Certificate(name) }
	}
	key := func(name string) func(*pkitest.Node) string {
		return func(n *pkitest.Node) string { return n.Key(name) }
	}
	type want struct {
		state  pki.State
		reason string
	}
	tests := []struct {
		name   string
		damage func(*testing.T, *pkitest.Node)
		want   map[string]want
	}{
		{"expired", func(_ *testing.T, n *pkitest.Node) { n.Issue("etcd-peer", now.Add(-10*day), now.Add(-3*day)) },
			map[string]want{"etcd-peer": {pki.Expired, "expired 3d0h ago (2026-02-26 12:00:00 UTC)"}}},
		{"the last second", func(_ *testing.T, n *pkitest.Node) { n.Issue("etcd-peer", now.Add(-10*day), now) },
			map[string]want{"etcd-peer": {pki.OK, "expires in 0.0s"}}},
		{"not yet valid", func(_ *testing.T, n *pkitest.Node) { n.Issue("etcd-peer", now.Add(time.Hour), now.Add(day)) },
			map[string]want{"etcd-peer": {pki.Invalid, "not valid before 2026-03-01 13:00:00 UTC, in 1h0m: is the clock right?"}}},
		{"empty certificate", empty(certificate("apiserver")), map[string]want{"apiserver": {pki.Invalid, "is empty"}}},
		{"truncated certificate", func(t *testing.T, n *pkitest.Node) { truncate(t, n.Certificate("apiserver")) },
			map[string]want{"apiserver": {pki.Invalid, "holds no PEM block of type CERTIFICATE, or a truncated one"}}},
		{"certificate of other bytes", func(t *testing.T, n *pkitest.Node) {
			overwrite(t, n.Certificate("apiserver"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
		}, map[string]want{"apiserver": {pki.Invalid, "certificate 1 cannot be parsed"}}},
		{"missing certificate", func(_ *testing.T, n *pkitest.Node) { n.Remove(n.Certificate("apiserver")) },
			map[string]want{"apiserver": {pki.Missing, "there is no such file"}}},
		{"missing key", func(_ *testing.T, n *pkitest.Node) { n.Remove(n.Key("apiserver")) },
			map[string]want{"apiserver": {pki.Invalid, "its key /etc/kubernetes/pki/apiserver.key cannot be read: no such file"}}},
		{"empty key", empty(key("apiserver")), map[string]want{"apiserver": {pki.Invalid, "its key /etc/kubernetes/pki/apiserver.key is empty"}}},
		{"a certificate in the key's place", func(t *testing.T, n *pkitest.Node) { copyFile(t, n.Certificate("apiserver"), n.Key("apiserver")) },
			map[string]want{"apiserver": {pki.Invalid, "holds no PEM block with a private key"}}},
		{"another key", func(t *testing.T, n *pkitest.Node) { copyFile(t, n.Key("front-proxy-client"), n.Key("apiserver")) },
			map[string]want{"apiserver": {pki.Invalid, "belongs to another certificate"}}},
		{"signed by another CA", func(t *testing.T, n *pkitest.Node) {
			copyFile(t, n.Certificate("etcd-peer"), n.Certificate("apiserver"))
			copyFile(t, n.Key("etcd-peer"), n.Key("apiserver"))
		}, map[string]want{"apiserver": {pki.Invalid, "not signed by its CA ca"}}},
		{"a directory", func(t *testing.T, n *pkitest.Node) {
			n.Remove(n.Certificate("apiserver"))
			if err := os.Mkdir(n.Certificate("apiserver"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, map[string]want{"apiserver": {pki.Invalid, "is no regular file"}}},
		{"a FIFO, which must not block", func(t *testing.T, n *pkitest.Node) {
			n.Remove(n.Certificate("apiserver"))
			if err := syscall.Mkfifo(n.Certificate("apiserver"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, map[string]want{"apiserver": {pki.Invalid, "is no regular file"}}},
		{"a file that never ends", func(t *testing.T, n *pkitest.Node) {
			if err := os.Truncate(n.Certificate("apiserver"), 2<<20); err != nil {
				t.Fatal(err)
			}
		}, map[string]want{"apiserver": {pki.Invalid, "larger than 1048576 bytes"}}},
		{"empty kubeconfig", empty(certificate("scheduler.conf")),
			map[string]want{"scheduler.conf": {pki.Invalid, "names no user: it is empty, truncated, or no kubeconfig"}}},
		{"truncated kubeconfig", func(t *testing.T, n *pkitest.Node) { truncate(t, n.Certificate("scheduler.conf")) },
			map[string]want{"scheduler.conf": {pki.Invalid, ""}}},
		{"the kubelet's certificate is gone, its kubeconfig is there", func(_ *testing.T, n *pkitest.Node) { n.Remove(n.Certificate("kubelet-client")) },
			map[string]want{"kubelet-client": {pki.Invalid, "/etc/kubernetes/kubelet.conf names /var/lib/kubelet/pki/kubelet-client-current.pem, which cannot be read"}}},
		{"the kubelet's certificate is expired", func(_ *testing.T, n *pkitest.Node) { n.Issue("kubelet-client", now.Add(-10*day), now.Add(-day)) },
			map[string]want{"kubelet-client": {pki.Expired, "expired 1d0h ago"}}},
		{"external CA", func(_ *testing.T, n *pkitest.Node) { n.Remove(n.Key("front-proxy-ca")) },
			map[string]want{
				"front-proxy-ca":     {pki.External, "its key /etc/kubernetes/pki/front-proxy-ca.key is not on this node"},
				"front-proxy-client": {pki.External, "renew it where the CA is kept"},
			}},
		{"external CA and expired leaf: the alarm on expired must see it", func(_ *testing.T, n *pkitest.Node) {
			n.Remove(n.Key("front-proxy-ca"))
			n.Issue("front-proxy-client", now.Add(-10*day), now.Add(-day))
		}, map[string]want{
			"front-proxy-ca":     {pki.External, ""},
			"front-proxy-client": {pki.Expired, "renew it where the CA is kept"},
		}},
		{"empty CA key: neither here nor external", empty(key("front-proxy-ca")),
			map[string]want{
				"front-proxy-ca":     {pki.Invalid, "its key /etc/kubernetes/pki/front-proxy-ca.key is empty: put it back from a backup, or remove the file if the CA is kept elsewhere"},
				"front-proxy-client": {pki.OK, "its CA front-proxy-ca cannot sign here"},
			}},
		{"key of another CA", func(t *testing.T, n *pkitest.Node) { copyFile(t, n.Key("ca"), n.Key("front-proxy-ca")) },
			map[string]want{
				"front-proxy-ca":     {pki.Invalid, "belongs to another certificate: put the key of /etc/kubernetes/pki/front-proxy-ca.crt there"},
				"front-proxy-client": {pki.OK, "cannot sign here: its key /etc/kubernetes/pki/front-proxy-ca.key cannot be used"},
			}},
		{"a CA bundle during a rotation", func(t *testing.T, n *pkitest.Node) {
			old, err := os.ReadFile(n.Certificate("front-proxy-ca"))
			if err != nil {
				t.Fatal(err)
			}
			n.CA("front-proxy-ca", now, now.Add(20*365*day)) // the leaf is still the old one's
			fresh, err := os.ReadFile(n.Certificate("front-proxy-ca"))
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, n.Certificate("front-proxy-ca"), string(fresh)+string(old))
		}, map[string]want{"front-proxy-ca": {pki.OK, "expires in 7300d"}}},
		{"a CA bundle whose first has run out: it is what kubeadm signs with", func(t *testing.T, n *pkitest.Node) {
			good, err := os.ReadFile(n.Certificate("front-proxy-ca"))
			if err != nil {
				t.Fatal(err)
			}
			n.CA("front-proxy-ca", now.Add(-10*day), now.Add(-day)) // the leaf is still the good one's
			old, err := os.ReadFile(n.Certificate("front-proxy-ca"))
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, n.Certificate("front-proxy-ca"), string(old)+string(good))
		}, map[string]want{"front-proxy-ca": {pki.Expired, "expired 1d0h ago"}}},
		{"a leaf in the CA's place", func(t *testing.T, n *pkitest.Node) {
			copyFile(t, n.Certificate("front-proxy-client"), n.Certificate("front-proxy-ca"))
			copyFile(t, n.Key("front-proxy-client"), n.Key("front-proxy-ca"))
		}, map[string]want{
			"front-proxy-ca":     {pki.Invalid, "is no CA"},
			"front-proxy-client": {pki.Invalid, "not signed by its CA front-proxy-ca"},
		}},
		{"the CA's certificate is gone, its key is not", func(_ *testing.T, n *pkitest.Node) { n.Remove(n.Certificate("front-proxy-ca")) },
			map[string]want{
				"front-proxy-ca":     {pki.Missing, "there is no such file"},
				"front-proxy-client": {pki.OK, "its CA front-proxy-ca cannot sign here"},
			}},
		{"signed by an intermediate, which is in the file", func(_ *testing.T, n *pkitest.Node) {
			n.IssueThrough("front-proxy-client", now.Add(-day), now.Add(364*day))
		}, nil},
		{"signed by an intermediate, which is not", func(t *testing.T, n *pkitest.Node) {
			n.IssueThrough("front-proxy-client", now.Add(-day), now.Add(364*day))
			chain, err := os.ReadFile(n.Certificate("front-proxy-client"))
			if err != nil {
				t.Fatal(err)
			}
			_, rest := pem.Decode(chain)
			overwrite(t, n.Certificate("front-proxy-client"), string(chain[:len(chain)-len(rest)]))
		}, map[string]want{"front-proxy-client": {pki.Invalid, "not signed by its CA front-proxy-ca"}}},
		{"an intermediate of another CA", func(_ *testing.T, n *pkitest.Node) {
			n.IssueThrough("front-proxy-client", now.Add(-day), now.Add(364*day))
			n.CA("front-proxy-ca", now.Add(-day), now.Add(3649*day))
		}, map[string]want{"front-proxy-client": {pki.Invalid, "not signed by its CA front-proxy-ca"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := pkitest.New(t, now.Add(-day))
			tt.damage(t, n)
			for name, c := range read(t, n, now) {
				w, named := tt.want[name]
				if !named {
					w = want{pki.OK, "expires in"}
				}
				if c.State != w.state || !strings.Contains(c.Reason, w.reason) {
					t.Errorf("%s is %s (%s), want %s (%s)", name, c.State, c.Reason, w.state, w.reason)
				}
				if strings.Contains(c.Reason, n.Root) {
					t.Errorf("%s: the reason names the root: %s", name, c.Reason)
				}
			}
		})
	}
}

// kubeadm copies the CA's not-before into the kubeconfigs of init and join
// (kubernetes#113618), and what touches files must not move the estimate.
func TestIssued(t *testing.T) {
	n := pkitest.New(t, now.Add(-5*365*day))
	for name := range read(t, n, now) {
		if name != "kubelet-client" && name != "kubelet-server" && !strings.HasSuffix(name, "ca") {
			n.Issue(name, now.Add(-65*day), now.Add(300*day))
		}
	}
	n.Issue("scheduler.conf", now.Add(-5*365*day), now.Add(300*day)) // not before as the CA's
	for _, touched := range []time.Time{now.Add(-65 * day), now} {
		n.Touch(touched)
		got := read(t, n, now)
		for _, name := range []string{"scheduler.conf", "admin.conf", "apiserver"} {
			if want := now.Add(-65 * day); !got[name].Issued.Equal(want) {
				t.Errorf("touched %s: %s issued %s, want %s", touched, name, got[name].Issued, want)
			}
		}
	}
}

// Older kubeadm copies it into every leaf; then kubeadm's year is the best guess.
func TestIssuedWithOldKubeadm(t *testing.T) {
	n := pkitest.New(t, now.Add(-5*365*day))
	for name := range read(t, n, now) {
		if name != "kubelet-client" && name != "kubelet-server" && !strings.HasSuffix(name, "ca") {
			n.Issue(name, now.Add(-5*365*day), now.Add(300*day))
		}
	}
	for _, name := range []string{"scheduler.conf", "apiserver", "etcd-peer"} {
		if got, want := read(t, n, now)[name].Issued, now.Add(-65*day); !got.Equal(want) {
			t.Errorf("%s issued %s, want %s", name, got, want)
		}
	}
}

// A key that is gone is cured by a renewal, which makes a new one; whoever decides
// that must see where it was expected. What is there and no file, kubeadm could not
// write to.
func TestReadKeyPath(t *testing.T) {
	n := pkitest.New(t, now)
	n.Remove(n.Key("apiserver"))
	n.Remove(n.Key("front-proxy-client"))
	if err := syscall.Mkfifo(n.Key("front-proxy-client"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := read(t, n, now)
	if c := got["apiserver"]; c.KeyPath != "/etc/kubernetes/pki/apiserver.key" || c.KeyMatches || c.Leaf == nil || !c.CAKeyHere {
		t.Errorf("key gone: %q, matches %v", c.KeyPath, c.KeyMatches)
	}
	if c := got["front-proxy-client"]; c.KeyPath != "" || c.KeyMatches {
		t.Errorf("a FIFO for a key: %q, matches %v", c.KeyPath, c.KeyMatches)
	}
}

func TestReadRSA(t *testing.T) {
	n := pkitest.New(t, now)
	for name, encode := range map[string]func(*rsa.PrivateKey) *pem.Block{
		"PKCS #1": func(k *rsa.PrivateKey) *pem.Block {
			return &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}
		},
		"PKCS #8": func(k *rsa.PrivateKey) *pem.Block {
			der, err := x509.MarshalPKCS8PrivateKey(k)
			if err != nil {
				t.Fatal(err)
			}
			return &pem.Block{Type: "PRIVATE KEY", Bytes: der}
		},
	} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		n.SelfSigned("kubelet-server", key)
		overwrite(t, n.Key("kubelet-server"), string(pem.EncodeToMemory(encode(key))))
		if c := read(t, n, now)["kubelet-server"]; c.State != pki.OK || !c.KeyMatches {
			t.Errorf("%s: %s (%s)", name, c.State, c.Reason)
		}
		for damage, change := range map[string]func([]byte) []byte{
			"truncated":      func(der []byte) []byte { return der[:len(der)-1] },
			"trailing bytes": func(der []byte) []byte { return append(der, 0) },
		} {
			if name == "PKCS #8" && damage == "trailing bytes" {
				continue // crypto/x509 lets them pass, and so do those who load the key
			}
			block := encode(key)
			block.Bytes = change(block.Bytes)
			overwrite(t, n.Key("kubelet-server"), string(pem.EncodeToMemory(block)))
			if c := read(t, n, now)["kubelet-server"]; c.State != pki.Invalid || c.KeyMatches {
				t.Errorf("%s, %s: %s (%s)", name, damage, c.State, c.Reason)
			}
		}
		other, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		overwrite(t, n.Key("kubelet-server"), string(pem.EncodeToMemory(encode(other))))
		if c := read(t, n, now)["kubelet-server"]; c.State != pki.Invalid || c.KeyMatches {
			t.Errorf("%s, another key: %s (%s)", name, c.State, c.Reason)
		}
	}
}

func overwrite(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, to, string(content))
}

// truncate cuts a file in its middle, as a full disk does.
func truncate(t *testing.T, file string) {
	t.Helper()
	info, err := os.Stat(filepath.Clean(file))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, info.Size()/2); err != nil {
		t.Fatal(err)
	}
}

// Copies are judged by the CAs that the node has now, and a copy of a CA by the key.
func TestReadCopies(t *testing.T) {
	n := pkitest.New(t, now)
	copies := t.TempDir()
	if err := os.CopyFS(copies, os.DirFS(n.Root)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca", "etcd-ca", "front-proxy-ca"} {
		if err := os.Remove(filepath.Join(copies, strings.TrimPrefix(n.Key(name), n.Root))); err != nil {
			t.Fatal(err)
		}
	}
	n.CA("etcd-ca", now, now.Add(3650*day))
	n.Write("/etc/kubernetes/pki/apiserver.crt", "")
	n.Write("/etc/kubernetes/pki/ca.crt", string(must(t, n.Certificate("ca")))+string(must(t, n.Certificate("etcd-ca"))))
	l, _ := pki.Locate(pki.Options{Root: n.Root})
	want := map[string]string{"apiserver": "ok true", "scheduler.conf": "ok true", "ca": "ok true", "front-proxy-client": "ok true",
		"etcd-server": "invalid true", "etcd-ca": "invalid false"}
	for _, c := range l.ReadCopies(copies, now.Add(day)) {
		if got := fmt.Sprint(c.State, " ", c.CAKeyHere); want[c.Name] != "" && got != want[c.Name] {
			t.Errorf("%s is %s (%s), want %s", c.Name, got, c.Reason, want[c.Name])
		}
		delete(want, c.Name)
	}
	if len(want) > 0 {
		t.Errorf("not read: %v", want)
	}
}

func must(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// While a CA is being replaced it is known which of its file's certificates signed what.
func TestSignerDuringARotation(t *testing.T) {
	n := pkitest.New(t, now)
	old, err := os.ReadFile(n.Certificate("ca"))
	if err != nil {
		t.Fatal(err)
	}
	n.CA("ca", now.Add(-day), now.Add(10*365*day))
	n.Issue("scheduler.conf", now.Add(-day), now.Add(365*day))
	fresh, err := os.ReadFile(n.Certificate("ca"))
	if err != nil {
		t.Fatal(err)
	}
	n.Write("/etc/kubernetes/pki/ca.crt", string(fresh)+string(old))
	layout, _ := pki.Locate(pki.Options{Root: n.Root})
	found := map[string]pki.Certificate{}
	for _, c := range layout.Read(now) {
		found[c.Name] = c
	}
	ca := found["ca"]
	if len(ca.Bundle) != 1 || ca.Bundle[0].SHA256 == ca.SHA256 || ca.Bundle[0].NotAfter.IsZero() || ca.State != pki.OK {
		t.Fatalf("%+v", ca)
	}
	if got := found["scheduler.conf"].Signer; got != ca.SHA256 {
		t.Errorf("scheduler.conf was signed by %s, want the first", got)
	}
	if got := found["apiserver"].Signer; got != ca.Bundle[0].SHA256 {
		t.Errorf("apiserver was signed by %s, want the second", got)
	}
	if found["front-proxy-client"].Signer != found["front-proxy-ca"].SHA256 {
		t.Error("front-proxy-client was signed by its CA")
	}
}
