package renew_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// The nearer the end of a CA, the more weight it has.
func TestAuthorities(t *testing.T) {
	ends := func(in time.Duration) func(*pki.Certificate) {
		return func(c *pki.Certificate) { c.NotAfter = now.Add(in) }
	}
	for _, tt := range []struct {
		name     string
		change   func(*pki.Certificate)
		severity renew.Severity // empty: nothing is said
		says     string
	}{
		{"years", ends(366 * day), "", ""},
		{"a year", ends(365 * day), renew.Info, "the CA ca (/etc/kubernetes/ca) ends in 365d"},
		{"91 days", ends(91 * day), renew.Info, "ends in 91d"},
		{"90 days", ends(90 * day), renew.Warning, "ends in 90d"},
		{"30 days", ends(30 * day), renew.Critical, "ends in 30d"},
		{"expired", expired, renew.Critical, "ca is "},
		{"expired, and its key is unusable", func(c *pki.Certificate) { expired(c); c.State = pki.Invalid }, renew.Critical, "ca is "},
		{"gone", func(c *pki.Certificate) {
			*c = pki.Certificate{Name: "ca", Kind: pki.CA, Path: "/ca.crt", State: pki.Missing, Reason: "there is no such file"}
		}, renew.Critical, "ca is missing: there is no such file"},
		{"its key is empty", func(c *pki.Certificate) { ends(900 * day)(c); c.State, c.Reason = pki.Invalid, "its key is empty" }, renew.Critical, "ca is invalid: its key is empty"},
		{"kept elsewhere", func(c *pki.Certificate) { ends(900 * day)(c); c.State = pki.External }, "", ""},
		{"kept elsewhere, and near its end", func(c *pki.Certificate) { ends(20 * day)(c); c.State = pki.External }, renew.Critical, "ends in 20d"},
		{"watched only", func(c *pki.Certificate) { ends(20 * day)(c); c.Watched = true }, "", ""},
		{"being replaced", func(c *pki.Certificate) {
			ends(900 * day)(c)
			c.SHA256, c.Subject, c.Bundle = "new", "CN=new", []pki.Trusted{{Subject: "CN=old", SHA256: "old", NotAfter: now.Add(60 * day)}}
		}, renew.Info, "/etc/kubernetes/ca holds 2 certificates, so that the CA ca is being replaced: kubeadm signs with the first (CN=new, until 2028-08-17 12:00:00 UTC)" +
			"; signed by another of them (CN=old, until 2026-04-30 12:00:00 UTC) are still apiserver"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := healthy()
			for _, name := range []string{"etcd-ca", "front-proxy-ca"} {
				certificate(&o, name, ends(900*day))
			}
			certificate(&o, "apiserver", func(c *pki.Certificate) { c.Signer = "old" })
			certificate(&o, "ca", tt.change)
			got := slices.DeleteFunc(renew.Decide(o, shipped, renew.Wish{}).Notices, func(n renew.Notice) bool { return n.About != "ca" || n.ID == "watched-certificate" })
			if tt.severity == "" {
				if len(got) > 0 {
					t.Errorf("it says %+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Severity != tt.severity || !strings.Contains(got[0].Text, tt.says) {
				t.Errorf("%+v; want %s: %q", got, tt.severity, tt.says)
			}
		})
	}
}
