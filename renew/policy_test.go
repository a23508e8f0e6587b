package renew_test

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

const day = 24 * time.Hour

// now is the time of every test in this file.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// shipped is the policy of the shipped configuration: 30 days or a third of the
// lifetime, whichever is shorter.
var shipped = renew.Policy{Before: 30 * day, Share: 1.0 / 3}

// leaf is a healthy certificate issued at a time, ending at another.
func leaf(issued, notAfter time.Time) pki.Certificate {
	return pki.Certificate{
		Name: "apiserver", Kind: pki.PEM, Renewer: pki.Kubeadm, CA: "ca",
		Path: "/etc/kubernetes/pki/apiserver.crt", KeyPath: "/etc/kubernetes/pki/apiserver.key",
		NotBefore: issued, Issued: issued, NotAfter: notAfter, Changed: issued,
		KeyMatches: true, CAKeyHere: true, State: pki.OK, Leaf: &x509.Certificate{},
	}
}

func TestPolicy(t *testing.T) {
	year := func(remaining time.Duration) pki.Certificate {
		return leaf(now.Add(remaining-365*day), now.Add(remaining))
	}
	with := func(c pki.Certificate, change func(*pki.Certificate)) pki.Certificate {
		change(&c)
		return c
	}
	tests := []struct {
		name   string
		policy renew.Policy
		cert   pki.Certificate
		renew  bool
		state  pki.State
		at     time.Time // zero: never by kubecertd
		reason string
	}{
		{
			name: "a year, far from its end", policy: shipped, cert: year(200 * day),
			state: pki.OK, at: now.Add(170 * day), reason: "expires in 200d, due in 170d",
		},
		{
			name: "a year, one second before the threshold", policy: shipped, cert: year(30*day + time.Second),
			state: pki.OK, at: now.Add(time.Second), reason: "due in 1.0s",
		},
		{
			name: "a year, at the threshold", policy: shipped, cert: year(30 * day),
			renew: true, state: pki.Due, at: now, reason: "expires in 30d, renewed from 30d before the end on",
		},
		{
			name: "an hour: a third of the lifetime is shorter than 30 days", policy: shipped,
			cert: leaf(now.Add(-30*time.Minute), now.Add(30*time.Minute)), state: pki.OK, at: now.Add(10 * time.Minute), reason: "due in 10m0s",
		},
		{
			name: "an hour, in its last third", policy: shipped,
			cert: leaf(now.Add(-41*time.Minute), now.Add(19*time.Minute)), renew: true, state: pki.Due, at: now.Add(-1 * time.Minute), reason: "expires in 19m0s",
		},
		{
			name: "only a duration", policy: renew.Policy{Before: 60 * day}, cert: year(59 * day),
			renew: true, state: pki.Due, at: now.Add(-1 * day), reason: "renewed from 60d before the end on",
		},
		{
			name: "only a share", policy: renew.Policy{Share: 0.5}, cert: year(183 * day),
			state: pki.OK, at: now.Add(183*day - 365*day/2), reason: "expires in 183d",
		},
		{
			// Renewing at every look would be the literal reading.
			name: "a threshold longer than the lifetime", policy: renew.Policy{Before: 30 * day},
			cert: leaf(now.Add(-2*time.Hour), now.Add(22*time.Hour)), state: pki.OK, at: now.Add(14 * time.Hour),
			reason: "renew.before 30d is not shorter than the certificate's lifetime of 1d0h",
		},
		{
			// kubeadm copies the CA's not-before into the kubeconfigs of init and join
			// (kubernetes#113618): five years of lifetime that never were.
			name: "not before copied from the CA", policy: renew.Policy{Share: 1.0 / 3},
			cert:  with(leaf(now.Add(-5*365*day), now.Add(300*day)), func(c *pki.Certificate) { c.Issued = now.Add(-65 * day) }),
			state: pki.OK, at: now.Add(300*day - 365*day/3), reason: "expires in 300d",
		},
		{
			name: "issue time unknown", policy: shipped,
			cert:  with(year(200*day), func(c *pki.Certificate) { c.Issued = time.Time{} }),
			state: pki.OK, at: now.Add(170 * day), reason: "due in 170d",
		},
		{
			name: "expired", policy: shipped,
			cert:  with(year(-3*day), func(c *pki.Certificate) { c.State, c.Reason = pki.Expired, "expired 3d ago" }),
			renew: true, state: pki.Expired, at: now.Add(-33 * day), reason: "expired 3d ago",
		},
		{
			name: "expired, CA key elsewhere", policy: shipped,
			cert:  with(year(-3*day), func(c *pki.Certificate) { c.State, c.Reason, c.CAKeyHere = pki.Expired, "expired 3d ago", false }),
			state: pki.Expired, reason: "expired 3d ago",
		},
		{
			name: "external and within the threshold", policy: shipped,
			cert:  with(year(3*day), func(c *pki.Certificate) { c.State, c.Reason, c.CAKeyHere = pki.External, "no CA key", false }),
			state: pki.External, reason: "no CA key",
		},
		{
			name: "optional and missing", policy: shipped,
			cert:  pki.Certificate{Name: "super-admin.conf", Renewer: pki.Kubeadm, Optional: true, State: pki.Missing, Reason: "not there"},
			state: pki.Missing, reason: "not there",
		},
		{
			name: "unreadable", policy: shipped,
			cert:  pki.Certificate{Name: "apiserver", Renewer: pki.Kubeadm, State: pki.Invalid, Reason: "is empty", CAKeyHere: true},
			state: pki.Invalid, reason: "is empty",
		},
		{
			// What kubeadm leaves when it is killed between key and certificate; it
			// heals by renewing again.
			name: "key of another certificate", policy: shipped,
			cert:  with(year(200*day), func(c *pki.Certificate) { c.State, c.Reason, c.KeyMatches = pki.Invalid, "key mismatch", false }),
			renew: true, state: pki.Invalid, at: now, reason: "key mismatch; renewing makes a new pair",
		},
		{
			name: "not yet valid is for the clock, not for kubeadm", policy: shipped,
			cert:  with(year(200*day), func(c *pki.Certificate) { c.State, c.Reason = pki.Invalid, "not yet valid" }),
			state: pki.Invalid, reason: "not yet valid",
		},
		{
			name: "the kubelet renews its own", policy: shipped,
			cert:  with(year(3*day), func(c *pki.Certificate) { c.Renewer, c.Reason = pki.Kubelet, "expires in 3d" }),
			state: pki.OK, reason: "expires in 3d",
		},
		{
			name: "nobody renews a CA", policy: shipped,
			cert:  with(year(-3*day), func(c *pki.Certificate) { c.Renewer, c.Kind, c.State = pki.Nobody, pki.CA, pki.Expired }),
			state: pki.Expired,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := tt.policy.Decide(tt.cert, now)
			if d.Renew != tt.renew || d.State != tt.state {
				t.Errorf("renew %v, state %s; want %v, %s", d.Renew, d.State, tt.renew, tt.state)
			}
			if !d.At.Equal(tt.at) {
				t.Errorf("due at %s, want %s", d.At, tt.at)
			}
			if !strings.Contains(d.Reason, tt.reason) {
				t.Errorf("reason %q does not say %q", d.Reason, tt.reason)
			}
		})
	}
}

func TestPolicyUnfit(t *testing.T) {
	short := leaf(now.Add(-time.Hour), now.Add(23*time.Hour))
	if got := (renew.Policy{Before: 30 * day}).Unfit([]pki.Certificate{short}); len(got) != 1 || got[0] != "apiserver lives 1d0h" {
		t.Errorf("Unfit = %q, want the certificate and its lifetime", got)
	}
	if got := shipped.Unfit([]pki.Certificate{short}); len(got) != 0 {
		t.Errorf("the default policy does not fit %q", got)
	}
}
