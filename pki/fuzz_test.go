package pki

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki/pkitest"
)

// Whatever lies in a certificate's place is read to an end, and nothing of a key
// comes back in an error.
func FuzzPEM(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nMAYCAQACAQM=\n-----END RSA PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"))
	issued := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	n := pkitest.New(f, issued)
	n.IssueThrough("apiserver", issued, issued.AddDate(1, 0, 0))
	for _, file := range []string{n.Certificate("apiserver"), n.Key("apiserver"), n.Certificate("ca")} {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	f.Fuzz(func(t *testing.T, content []byte) {
		list, err := parseCertificates(content)
		if (err == nil) != (len(list) > 0) {
			t.Errorf("%d certificates and error %v", len(list), err)
		}
		for _, c := range list {
			var described Certificate
			described.describe(c)
			if len(described.SHA256) != 64 {
				t.Errorf("described as %+v", described)
			}
		}
		if len(list) > 0 && signerOf(list, nil) != nil {
			t.Error("signed, and nobody is trusted")
		}
		public, err := publicKey(content)
		if (err == nil) != (public != nil) {
			t.Errorf("key %v and error %v", public, err)
		}
		if err != nil && len(content) > 60 && strings.Contains(err.Error(), string(content[30:50])) {
			t.Errorf("the error quotes the file: %v", err)
		}
		// The short way to the public half of an RSA key leads where the long one does.
		if short, ok := public.(modulus); ok {
			if long := parseRSA(content); long != nil && (long.E != short.E || long.N.Cmp(short.N) != 0) {
				t.Error("not the public key that crypto/x509 reads")
			}
		}
	})
}

// parseRSA is the first private key of a PEM file as crypto/x509 reads it; nil when
// that is no RSA key, or not a valid one.
func parseRSA(content []byte) *rsa.PrivateKey {
	for {
		block, rest := pem.Decode(content)
		if block == nil {
			return nil
		}
		switch content = rest; block.Type {
		case "RSA PRIVATE KEY":
			k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			if err != nil {
				return nil
			}
			return k
		case "PRIVATE KEY":
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil
			}
			r, _ := k.(*rsa.PrivateKey)
			return r
		case "EC PRIVATE KEY":
			return nil
		}
	}
}

// Whatever lies in a kubeconfig's place is read to an end: with credentials or with
// an error, which quotes nothing of a key.
func FuzzKubeconfig(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("users: [{name: u, user: {client-certificate-data: AAAA, client-key-data: c2VjcmV0}}]\n"))
	f.Add([]byte("current-context: c\ncontexts: [{name: c, context: {user: u, cluster: k}}]\nclusters: [{name: k, cluster: {server: 'https://a:b@c'}}]\nusers: [{name: u, user: {client-certificate: a.pem, client-key: /b}}]\n"))
	f.Add([]byte("users:\n- name: u\n  user:\n    client-key-data: [c2VjcmV0c2VjcmV0\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		k, err := parseKubeconfig(content, "/etc/kubernetes")
		if err == nil && len(k.certificate) == 0 && k.certificatePath == "" {
			t.Error("read without a certificate and without an error")
		}
		if err == nil && k.certificatePath != "" && !strings.HasPrefix(k.certificatePath, "/") {
			t.Errorf("path %q was not resolved", k.certificatePath)
		}
		if err != nil && strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("the error quotes a key: %v", err)
		}
	})
}
