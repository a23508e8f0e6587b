package pki_test

import (
	"crypto/x509"
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
)

// What programs read: the names stay, times are UTC, and what is not there is not
// said.
func TestCertificateJSON(t *testing.T) {
	here := time.Local
	t.Cleanup(func() { time.Local = here })
	time.Local = time.FixedZone("here", 2*3600)
	n := pkitest.New(t, now)
	n.IssueWith("apiserver", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = now, now.Add(365*day)
		c.URIs, c.EmailAddresses = []*url.URL{{Scheme: "spiffe", Host: "cp1"}}, []string{"root@cp1"}
		c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning)
	})
	n.Touch(now)
	n.Remove(n.Certificate("super-admin.conf"))
	certificates := read(t, n, now)
	certificates["apiserver"] = fixed(certificates["apiserver"])
	for name, want := range map[string]string{
		"apiserver": `{
 "name": "apiserver",
 "kind": "pem",
 "renewer": "kubeadm",
 "path": "/etc/kubernetes/pki/apiserver.crt",
 "keyPath": "/etc/kubernetes/pki/apiserver.key",
 "ca": "ca",
 "subject": "CN=kube-apiserver",
 "issuer": "CN=ca",
 "serial": "abc",
 "sha256": "def",
 "dnsNames": [
  "cp1",
  "localhost",
  "kubernetes"
 ],
 "ips": [
  "127.0.0.1",
  "192.0.2.11"
 ],
 "uris": [
  "spiffe://cp1"
 ],
 "emails": [
  "root@cp1"
 ],
 "usages": [
  "client auth",
  "server auth",
  "usage 9"
 ],
 "notBefore": "2026-03-01T12:00:00Z",
 "notAfter": "2027-03-01T12:00:00Z",
 "issued": "2026-03-01T12:00:00Z",
 "keyMatches": true,
 "caKeyHere": true,
 "changed": "2026-03-01T12:00:00Z",
 "state": "ok",
 "reason": "expires in 365d (2027-03-01 12:00:00 UTC)"
}`,
		"super-admin.conf": `{
 "name": "super-admin.conf",
 "kind": "kubeconfig",
 "renewer": "kubeadm",
 "path": "/etc/kubernetes/super-admin.conf",
 "ca": "ca",
 "optional": true,
 "keyMatches": false,
 "caKeyHere": false,
 "state": "missing",
 "reason": "there is no such file"
}`,
	} {
		got, err := json.MarshalIndent(certificates[name], "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// fixed is the certificate without what differs from one making to the next.
func fixed(c pki.Certificate) pki.Certificate {
	c.Serial, c.SHA256 = "abc", "def"
	return c
}
