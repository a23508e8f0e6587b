package pki_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
)

// foreign puts certificate and key of another cluster's leaf into a directory of
// the node, as somebody does who brings a certificate of his own.
func foreign(t *testing.T, n *pkitest.Node, name, dir string) *pkitest.Node {
	t.Helper()
	other := pkitest.New(t, now)
	for from, to := range map[string]string{other.Certificate(name): "own.crt", other.Key(name): "own.key", other.Certificate("ca"): "own-ca.crt"} {
		content, err := os.ReadFile(from)
		if os.IsNotExist(err) {
			continue // a link into the other node
		}
		if err != nil {
			t.Fatal(err)
		}
		n.Write(dir+to, string(content))
	}
	return other
}

// kubeadm renews in its own places only. What a manifest takes from elsewhere is
// somebody else's to renew, and its CA need not be the cluster's.
func TestLocateCertificateOfAnother(t *testing.T) {
	n := pkitest.New(t, now)
	foreign(t, n, "apiserver", "/etc/ssl/corp/")
	edit(t, n, apiserver,
		"--tls-cert-file=/etc/kubernetes/pki/apiserver.crt", "--tls-cert-file=/etc/ssl/corp/own.crt",
		"--tls-private-key-file=/etc/kubernetes/pki/apiserver.key", "--tls-private-key-file=/etc/ssl/corp/own.key")
	l, _ := pki.Locate(pki.Options{Root: n.Root})
	if l.CertificatesDir != "/etc/kubernetes/pki" {
		t.Errorf("certificates directory %s: kubeadm would renew there", l.CertificatesDir)
	}
	for name, c := range read(t, n, now) {
		if c.State != pki.OK {
			t.Errorf("%s is %s: %s", name, c.State, c.Reason)
		}
		if name == "apiserver" && (c.Renewer != pki.Nobody || c.CA != "" || c.CAKeyHere || c.Path != "/etc/ssl/corp/own.crt") {
			t.Errorf("apiserver: %+v", c)
		}
	}
}

// The same file by another path is still kubeadm's.
func TestLocateSameFileByAnotherPath(t *testing.T) {
	n := pkitest.New(t, now)
	if err := os.Symlink("pki", n.Path("/etc/kubernetes/certs")); err != nil {
		t.Fatal(err)
	}
	edit(t, n, apiserver, "--tls-cert-file=/etc/kubernetes/pki/", "--tls-cert-file=/etc/kubernetes/certs/")
	if c := read(t, n, now)["apiserver"]; c.Renewer != pki.Kubeadm || c.State != pki.OK {
		t.Errorf("apiserver is %s, renewed by %s: %s", c.State, c.Renewer, c.Reason)
	}
}

func TestLocateKubeconfigElsewhere(t *testing.T) {
	n := pkitest.New(t, now)
	content, err := os.ReadFile(n.Path("/etc/kubernetes/scheduler.conf"))
	if err != nil {
		t.Fatal(err)
	}
	n.Write("/srv/scheduler.conf", string(content))
	edit(t, n, manifests+"kube-scheduler.yaml", "--kubeconfig=/etc/kubernetes/scheduler.conf", "--kubeconfig=/srv/scheduler.conf")
	if c := read(t, n, now)["scheduler.conf"]; c.Path != "/srv/scheduler.conf" || c.Renewer != pki.Nobody || c.State != pki.OK {
		t.Errorf("scheduler.conf (%s) is %s, renewed by %s: %s", c.Path, c.State, c.Renewer, c.Reason)
	}
}

// Clients of another CA are let in by a bundle beside kubeadm's CA. kubeadm signs
// with its own all the same.
func TestLocateClientCABundle(t *testing.T) {
	n := pkitest.New(t, now)
	other := foreign(t, n, "kubelet-client", "/etc/kubernetes/pki/")
	var bundle string
	for _, file := range []string{n.Path("/etc/kubernetes/pki/own-ca.crt"), n.Certificate("ca")} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bundle += string(content)
	}
	n.Write("/srv/clients/bundle.crt", bundle)
	rotated, err := filepath.Glob(other.Path("/var/lib/kubelet/pki/kubelet-client-2*.pem"))
	if err != nil || len(rotated) != 1 {
		t.Fatal(rotated, err)
	}
	n.Remove(n.Certificate("kubelet-client")) // a link
	copyFile(t, rotated[0], n.Certificate("kubelet-client"))
	if c := read(t, n, now)["kubelet-client"]; c.State != pki.Invalid {
		t.Errorf("kubelet-client of a CA that nobody trusts is %s: %s", c.State, c.Reason)
	}
	edit(t, n, apiserver, "--client-ca-file=/etc/kubernetes/pki/ca.crt", "--client-ca-file=/srv/clients/bundle.crt")
	if l, _ := pki.Locate(pki.Options{Root: n.Root}); l.CertificatesDir != "/etc/kubernetes/pki" {
		t.Errorf("certificates directory %s: kubeadm would renew there", l.CertificatesDir)
	}
	for name, c := range read(t, n, now) {
		if c.State != pki.OK || (c.Renewer == pki.Kubeadm && !c.CAKeyHere) {
			t.Errorf("%s (%s) is %s, CA key here %v: %s", name, c.Path, c.State, c.CAKeyHere, c.Reason)
		}
	}
	if c := read(t, n, now)["ca"]; c.Path != "/etc/kubernetes/pki/ca.crt" {
		t.Errorf("ca is %s, not what kubeadm signs with", c.Path)
	}
}

func TestLocateExternalEtcd(t *testing.T) {
	n := pkitest.New(t, now)
	n.Remove(n.Path(manifests + "etcd.yaml"))
	n.Remove(n.Key("etcd-ca"))
	l, _ := pki.Locate(pki.Options{Root: n.Root})
	byName := read(t, n, now)
	if l.LocalEtcd {
		t.Error("etcd is said to be on this node")
	}
	for _, name := range []string{"etcd-server", "etcd-peer", "etcd-healthcheck-client"} {
		if c, listed := byName[name]; listed {
			t.Errorf("%s is listed: %+v", name, c)
		}
	}
	// Whoever made it renews it; kubeadm drops it from its list.
	if c := byName["apiserver-etcd-client"]; c.Renewer != pki.Nobody || c.State != pki.OK {
		t.Errorf("apiserver-etcd-client: renewed by %s, %s", c.Renewer, c.State)
	}
}
