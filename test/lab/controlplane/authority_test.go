//go:build linux

package controlplane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func newAuthority(t *testing.T, now time.Time) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"},
		NotBefore: now, NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	return &authority{cert: signed(t, template, template, key, key), key: key}
}

func signed(t *testing.T, template, parent *x509.Certificate, key, by crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestRemintChangesOnlyTimeAndKey(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ca := newAuthority(t, now)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"RSA": rsaKey, "ECDSA": ecKey} {
		t.Run(name, func(t *testing.T) {
			old := signed(t, &x509.Certificate{
				SerialNumber: big.NewInt(7),
				Subject:      pkix.Name{CommonName: "kube-apiserver", Organization: []string{"two", "of them"}},
				NotBefore:    now, NotAfter: now.Add(time.Hour),
				KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
				ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
				DNSNames:    []string{"kubernetes", "api"}, IPAddresses: []net.IP{net.IPv4(10, 96, 0, 1).To4()},
				BasicConstraintsValid: true,
			}, ca.cert, key, ca.key)
			oldPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: old.Raw})

			fresh, err := ca.remint(oldPEM, now.Add(-2*time.Hour), now.Add(-time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			both, err := tls.X509KeyPair(fresh.cert, fresh.key)
			if err != nil {
				t.Fatalf("certificate and key do not belong together: %v", err)
			}
			got := both.Leaf
			if err := got.CheckSignatureFrom(ca.cert); err != nil {
				t.Errorf("not signed by the CA: %v", err)
			}
			if !got.NotBefore.Equal(now.Add(-2*time.Hour)) || !got.NotAfter.Equal(now.Add(-time.Hour)) {
				t.Errorf("valid from %s to %s, want the time asked for", got.NotBefore, got.NotAfter)
			}
			if got.SerialNumber.Cmp(old.SerialNumber) == 0 {
				t.Error("it has the old serial number")
			}
			if got.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(old.PublicKey) {
				t.Error("it has the old key")
			}
			if diff := cmp.Diff(keptOf(old), keptOf(got)); diff != "" {
				t.Errorf("what must stay (-old +new):\n%s", diff)
			}
		})
	}
}

// kept is what re-signing must not change.
type kept struct {
	Subject     []byte
	DNSNames    []string
	IPAddresses []net.IP
	KeyUsage    x509.KeyUsage
	ExtKeyUsage []x509.ExtKeyUsage
	KeySize     int
	IsCA        bool
}

func keptOf(c *x509.Certificate) kept {
	k := kept{
		Subject: c.RawSubject, DNSNames: c.DNSNames, IPAddresses: c.IPAddresses,
		KeyUsage: c.KeyUsage, ExtKeyUsage: c.ExtKeyUsage, IsCA: c.IsCA,
	}
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		k.KeySize = key.N.BitLen()
	case *ecdsa.PublicKey:
		k.KeySize = key.Params().BitSize
	}
	return k
}

func TestRemintKubeconfig(t *testing.T) {
	encode := base64.StdEncoding.EncodeToString
	config := `apiVersion: v1
clusters:
- cluster: {certificate-authority-data: Q0E=, server: "https://api:6443"}
  name: kubernetes
users:
- name: kubernetes-admin
  user: {client-certificate-data: ` + encode([]byte("old")) + `, client-key-data: ` + encode([]byte("old key")) + `}
`
	got, err := remintKubeconfig([]byte(config), func(cert []byte) (pair, error) {
		if string(cert) != "old" {
			t.Errorf("asked to renew %q, want the user's certificate", cert)
		}
		return pair{cert: []byte("new"), key: []byte("new key")}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer(encode([]byte("old key")), encode([]byte("new key")), encode([]byte("old")), encode([]byte("new"))).Replace(config)
	if diff := cmp.Diff(fromYAML(t, []byte(want)), fromYAML(t, got)); diff != "" {
		t.Errorf("kubeconfig (-want +got):\n%s", diff)
	}
}

func TestRemintKubeconfigNeedsACertificateInside(t *testing.T) {
	config := "users:\n- name: kubelet\n  user: {client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem}\n"
	if _, err := remintKubeconfig([]byte(config), nil); err == nil {
		t.Error("a kubeconfig that points at files was reminted")
	}
}

func TestWithServer(t *testing.T) {
	got, err := withServer([]byte("clusters:\n- name: a\n  cluster: {server: \"https://api:6443\"}\n"), "https://10.99.1.11:6443")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"clusters": []any{map[string]any{
		"name": "a", "cluster": map[string]any{"server": "https://10.99.1.11:6443"},
	}}}
	if diff := cmp.Diff(want, fromYAML(t, got)); diff != "" {
		t.Errorf("kubeconfig (-want +got):\n%s", diff)
	}
	if _, err := withServer([]byte("apiVersion: v1\n"), "https://10.99.1.11:6443"); err == nil {
		t.Error("a kubeconfig without clusters was accepted")
	}
}

func fromYAML(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}
