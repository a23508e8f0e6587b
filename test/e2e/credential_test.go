//go:build linux

package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kubecertd/kubecertd/cluster"
	"github.com/kubecertd/kubecertd/test/story"
)

// credential is a client certificate of a node, as files of this host.
type credential struct {
	name string
	// ca is the path, on the node, of the CA that signs it, without .crt and .key.
	ca string
	// try shows a certificate and its key to the server that it is for.
	try func(t *testing.T, certificate, key string) error
}

// credentials are all that a renewal makes, and the servers that they are for.
func (n *node) credentials() []credential {
	const (
		kubernetesCA = "/etc/kubernetes/pki/ca"
		etcdCA       = "/etc/kubernetes/pki/etcd/ca"
		frontCA      = "/etc/kubernetes/pki/front-proxy-ca"
	)
	at := func(port string) string { return net.JoinHostPort(n.Address(), port) }
	etcd := func(t *testing.T, certificate, key string) error {
		return cluster.Etcd{Endpoint: "https://" + at("2379"), Certificate: certificate, Key: key, CA: n.host(etcdCA + ".crt")}.Try(t.Context())
	}
	list := []credential{
		{"apiserver-etcd-client", etcdCA, etcd},
		{"etcd-healthcheck-client", etcdCA, etcd},
		{"etcd-peer", etcdCA, etcd},
		{"apiserver-kubelet-client", kubernetesCA, func(t *testing.T, certificate, key string) error {
			return cluster.TryKubelet(t.Context(), at("10250"), certificate, key)
		}},
		{"front-proxy-client", frontCA, func(t *testing.T, certificate, key string) error {
			return cluster.TryFrontProxy(t.Context(), at("6443"), "kubernetes", n.host(kubernetesCA+".crt"), certificate, key)
		}},
	}
	for _, name := range []string{"admin.conf", "super-admin.conf", "controller-manager.conf", "scheduler.conf"} {
		list = append(list, credential{name, kubernetesCA, func(t *testing.T, certificate, key string) error {
			return cluster.TryKubeconfig(t.Context(), n.kubeconfigWith(t, name, certificate, key), at("6443"))
		}})
	}
	return list
}

// host is where this host sees a file of the node.
func (n *node) host(path string) string { return filepath.Join(n.Root(), path) }

// kubeconfigWith is a kubeconfig of the node with another client certificate.
func (n *node) kubeconfigWith(t *testing.T, name, certificate, key string) string {
	t.Helper()
	var config map[string]any
	if err := yaml.Unmarshal([]byte(n.Read(t, story.CertificateFiles[name][0])), &config); err != nil {
		t.Fatal(err)
	}
	for field, path := range map[string]string{"client-certificate-data": certificate, "client-key-data": key} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		user := config["users"].([]any)[0].(map[string]any)["user"].(map[string]any)
		user[field] = base64.StdEncoding.EncodeToString(content)
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mint signs a certificate like the one of that name, and writes it with its key.
func (n *node) mint(t *testing.T, name string, end time.Time, ca *x509.Certificate, caKey any) (certificate, key string) {
	t.Helper()
	like := n.Leaf(t, name)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), RawSubject: like.RawSubject,
		NotBefore: time.Now().Add(-3 * time.Hour), NotAfter: end, KeyUsage: like.KeyUsage, ExtKeyUsage: like.ExtKeyUsage,
		DNSNames: like.DNSNames, IPAddresses: like.IPAddresses}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.CreateCertificate(rand.Reader, template, ca, &private.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(t.TempDir(), name)
	for path, block := range map[string]*pem.Block{base + ".crt": {Type: "CERTIFICATE", Bytes: leaf}, base + ".key": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return base + ".crt", base + ".key"
}

// foreign is a CA of the same name with another key, as after `kubeadm init` on a
// machine next door.
func foreign(t *testing.T, like *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: like.Subject.CommonName}, NotBefore: like.NotBefore, NotAfter: like.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return ca, key
}

// A real control plane accepts the credentials that it runs with, and refuses those
// that would end it; one that is away does neither.
func TestCredentials(t *testing.T) {
	n := onNode(t)
	for _, c := range n.credentials() {
		t.Run(c.name, func(t *testing.T) {
			own, err := tls.LoadX509KeyPair(n.host(c.ca+".crt"), n.host(c.ca+".key"))
			if err != nil {
				t.Fatal(err)
			}
			other, otherKey := foreign(t, own.Leaf)
			later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
			try := func(what string, end time.Time, ca *x509.Certificate, key any) error {
				certificate, private := n.mint(t, c.name, end, ca, key)
				began := time.Now()
				err := c.try(t, certificate, private)
				t.Logf("%s, after %s: %v", what, time.Since(began).Round(time.Millisecond), err)
				return err
			}
			if err := try("of its CA", later, own.Leaf, own.PrivateKey); err != nil {
				t.Errorf("of its CA: %v, want it accepted", err)
			}
			refused := new(cluster.RefusedError)
			if err := try("expired", before, own.Leaf, own.PrivateKey); !errors.As(err, &refused) || refused.Server == "" {
				t.Errorf("expired: %v, want it refused by the server", err)
			}
			if err := try("of a foreign CA", later, other, otherKey); !errors.As(err, &refused) || refused.Server == "" {
				t.Errorf("of a foreign CA: %v, want it refused by the server", err)
			}
			if !strings.HasSuffix(c.name, ".conf") {
				files := story.CertificateFiles[c.name]
				if err := c.try(t, n.host(files[0]), n.host(files[1])); err != nil {
					t.Errorf("as it is on disk: %v, want it accepted", err)
				}
			} else if err := cluster.TryKubeconfig(t.Context(), n.host(story.CertificateFiles[c.name][0]), net.JoinHostPort(n.Address(), "6443")); err != nil {
				t.Errorf("as it is on disk: %v, want it accepted", err)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		if err := n.CutNetwork(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := n.RestoreNetwork(); err != nil {
				t.Error(err)
			}
		}()
		files := story.CertificateFiles["apiserver-kubelet-client"]
		began := time.Now()
		err := cluster.TryKubelet(t.Context(), net.JoinHostPort(n.Address(), "10250"), n.host(files[0]), n.host(files[1]))
		if took := time.Since(began); err == nil || errors.As(err, new(*cluster.RefusedError)) || took > 4*time.Second {
			t.Errorf("after %s: %v, want it untried within 3s", took, err)
		}
	})
}
