package renew

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

func TestValidate(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	leaf := &x509.Certificate{PublicKey: key.Public()}
	good := pki.Certificate{Name: "apiserver", Path: "/pki/apiserver.crt", State: pki.OK, Reason: "fine", SHA256: "old", Subject: "CN=kube-apiserver",
		DNSNames: []string{"kubernetes", "cp1"}, IPs: []string{"10.96.0.1"}, URIs: []string{"spiffe://a"}, Emails: []string{"a@b"},
		Usages: []string{"server auth"}, NotAfter: now.Add(10 * day), Leaf: leaf}
	ca := pki.Certificate{Name: "ca", NotAfter: now.Add(3650 * day), Leaf: leaf}
	cluster := clusterConfig{Algorithm: "RSA-2048", Caps: true}
	tests := []struct {
		name    string
		change  func(before, after, ca *pki.Certificate)
		cluster clusterConfig
		err     string
	}{
		{name: "good"},
		{name: "more names", change: func(_, a, _ *pki.Certificate) { a.DNSNames = append(a.DNSNames, "cp2") }},
		{name: "not usable", change: func(_, a, _ *pki.Certificate) { a.State, a.Reason = pki.Invalid, "is empty" }, err: "is invalid after the renewal: is empty"},
		{name: "unchanged", change: func(_, a, _ *pki.Certificate) { a.SHA256 = "old" }, err: "unchanged on disk"},
		{name: "another kind of key", change: func(_, a, _ *pki.Certificate) { a.Leaf = &x509.Certificate{PublicKey: curve.Public()} },
			err: "the new key is ECDSA-P256, and the cluster is configured for RSA-2048"},
		{name: "after its CA", change: func(_, a, ca *pki.Certificate) { ca.NotAfter = a.NotAfter.Add(-time.Second) }, err: "after its CA"},
		{name: "with its CA", change: func(_, a, ca *pki.Certificate) { ca.NotAfter = a.NotAfter }},
		{name: "after its CA, with a kubeadm that knows no other way", change: func(_, a, ca *pki.Certificate) { ca.NotAfter = a.NotAfter.Add(-time.Second) },
			cluster: clusterConfig{Algorithm: "RSA-2048"}},
		{name: "not later", change: func(b, a, _ *pki.Certificate) { a.NotAfter = b.NotAfter }, err: "not later than the old one"},
		{name: "not later, and its CA is elsewhere", change: func(b, a, _ *pki.Certificate) { b.State, a.NotAfter = pki.External, b.NotAfter }, err: "not later than the old one"},
		{name: "not later than what had expired", change: func(b, a, _ *pki.Certificate) { b.State, b.NotAfter = pki.Expired, a.NotAfter }},
		{name: "another subject", change: func(_, a, _ *pki.Certificate) { a.Subject = "CN=other" }, err: "the subject changed"},
		{name: "a name lost", change: func(_, a, _ *pki.Certificate) { a.DNSNames = []string{"cp1"} }, err: "lost DNS names: kubernetes"},
		{name: "an address lost", change: func(_, a, _ *pki.Certificate) { a.IPs = nil }, err: "lost IP addresses: 10.96.0.1"},
		{name: "a URI lost", change: func(_, a, _ *pki.Certificate) { a.URIs = nil }, err: "lost URIs"},
		{name: "an e-mail address lost", change: func(_, a, _ *pki.Certificate) { a.Emails = nil }, err: "lost e-mail addresses"},
		{name: "a usage lost", change: func(_, a, _ *pki.Certificate) { a.Usages = nil }, err: "lost usages: server auth"},
		{name: "nothing to compare with", change: func(b, a, _ *pki.Certificate) { *b, a.Subject = pki.Certificate{}, "CN=other" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, after, ca := good, good, ca
			after.SHA256, after.NotAfter = "new", now.Add(365*day)
			if tt.change != nil {
				tt.change(&before, &after, &ca)
			}
			configuration := cluster
			if tt.cluster.Algorithm != "" {
				configuration = tt.cluster
			}
			err := validate(before, after, ca, configuration)
			if (err == nil) != (tt.err == "") || (err != nil && !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}
