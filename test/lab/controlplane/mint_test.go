//go:build linux

package controlplane_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

func TestValidity(t *testing.T) {
	n := liveNode(t)
	cert := certificate(t, n, "/etc/kubernetes/pki/apiserver.crt")
	if left := time.Until(cert.NotAfter); left > 2*time.Hour {
		t.Errorf("the certificate of the API server is valid for %s, want 2h at most", left)
	}
}

func TestMintCertificates(t *testing.T) {
	n := liveNode(t)
	const path = "/etc/kubernetes/pki/apiserver-kubelet-client.crt"
	before := certificate(t, n, path)
	owner := run(t, n, "stat", "-c", "%a %u %i", path, "/etc/kubernetes/pki/apiserver-kubelet-client.key", "/etc/kubernetes/scheduler.conf")

	notBefore, notAfter := time.Now().Add(-48*time.Hour).Truncate(time.Second), time.Now().Add(-24*time.Hour).Truncate(time.Second)
	if err := n.MintCertificates(notBefore, notAfter, "apiserver-kubelet-client", "scheduler.conf"); err != nil {
		t.Fatal(err)
	}
	after := certificate(t, n, path)
	if !after.NotAfter.Equal(notAfter) || !after.NotBefore.Equal(notBefore) || after.Subject.String() != before.Subject.String() {
		t.Errorf("%s from %s to %s", after.Subject, after.NotBefore, after.NotAfter)
	}
	if got := run(t, n, "stat", "-c", "%a %u %i", path, "/etc/kubernetes/pki/apiserver-kubelet-client.key", "/etc/kubernetes/scheduler.conf"); got != owner {
		t.Errorf("mode, owner and inode are %q, were %q", got, owner)
	}
	// kubeadm sees them as it sees any expired certificate, and renews them.
	for _, name := range []string{"apiserver-kubelet-client", "scheduler.conf"} {
		if left := residual(t, n, name); left > 0 {
			t.Errorf("%s has %s left, says kubeadm, want none", name, left)
		}
		run(t, n, "kubeadm", "certs", "renew", name)
		if left := residual(t, n, name); left <= 0 {
			t.Errorf("%s has %s left after it was renewed", name, left)
		}
	}

	if err := n.MintCertificates(notBefore, notAfter, "sa"); err == nil {
		t.Error("minted what is no certificate")
	}
}

// The API server takes up what it serves by itself.
func TestMintedCertificateIsServed(t *testing.T) {
	n := liveNode(t)
	notAfter := time.Now().Add(30 * time.Minute).Truncate(time.Second)
	if err := n.MintCertificates(time.Now().Add(-time.Hour), notAfter, "apiserver"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() error {
		conn, err := tls.Dial("tcp", n.Address()+":6443", &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		if got := conn.ConnectionState().PeerCertificates[0].NotAfter; !got.Equal(notAfter) {
			return fmt.Errorf("it serves a certificate until %s, want %s", got, notAfter)
		}
		return nil
	})
}

func TestKubeconfig(t *testing.T) {
	n := liveNode(t)
	cluster, err := controlplane.Open(liveName)
	if err != nil {
		t.Fatal(err)
	}
	path, err := cluster.Kubeconfig(n)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig %s: %v, %v; want mode 0600", path, info, err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(n.Root(), "usr/bin/kubectl"), "--kubeconfig", path, "get", "nodes", "-o", "name").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "node/cp1" {
		t.Errorf("kubectl on the host: %v: %s", err, out)
	}
}

func certificate(t *testing.T, n *controlplane.Node, path string) *x509.Certificate {
	t.Helper()
	data, err := n.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("%s is no PEM file", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// residual is what kubeadm says is left of a certificate.
func residual(t *testing.T, n *controlplane.Node, name string) time.Duration {
	t.Helper()
	var info struct {
		Certificates []struct {
			Name         string
			ResidualTime int64
		}
	}
	out := run(t, n, "kubeadm", "certs", "check-expiration", "-o", "json")
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		t.Fatal(err)
	}
	for _, c := range info.Certificates {
		if c.Name == name {
			return time.Duration(c.ResidualTime) * time.Second
		}
	}
	t.Fatalf("kubeadm knows no certificate %s: %s", name, out)
	return 0
}
