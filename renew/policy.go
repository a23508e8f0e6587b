package renew

import (
	"fmt"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Policy says how long before its end a certificate is renewed.
//
// Where both are set, whichever comes later (leaves the shorter time) counts, so
// that one-year and one-hour certificates both work.
type Policy struct {
	// Before is an absolute time before the end; 0 means not set.
	Before time.Duration
	// Share is a share of the certificate's lifetime, above 0 and below 1; 0 means
	// not set.
	Share float64
	// Margin is how near its end a certificate waits for nobody any more. What has expired
	// never does.
	Margin Margin
	// Spread keeps the nodes of a fleet apart.
	Spread Spread
	// Windows are when what is not critical is done.
	Windows Windows
	// Retry is for what has failed.
	Retry Retry
	// Restart says which components are restarted.
	Restart RestartPolicies
	// Remedies are how files that are only watched are made anew, by path, where that is
	// known.
	Remedies map[string]string
}

// String is the policy as the configuration spells it.
func (p Policy) String() string {
	switch {
	case p.Before > 0 && p.Share > 0:
		return fmt.Sprintf("%s or %.0f%% of the lifetime", pki.Span(p.Before), p.Share*100)
	case p.Share > 0:
		return fmt.Sprintf("%.0f%% of the lifetime", p.Share*100)
	default:
		return pki.Span(p.Before)
	}
}

// Decision is what the policy says about one certificate, and why.
type Decision struct {
	// State is the certificate's state, with ok divided into ok and due.
	State pki.State `json:"state"`
	// Renew says that kubecertd would renew it now.
	Renew bool `json:"renew"`
	// At is when it becomes due; zero when kubecertd will never renew it.
	At time.Time `json:"renewAt,omitzero"`
	// Alarm is when the state of a watched certificate becomes worse: when it is due, and
	// then when it has expired.
	Alarm time.Time `json:"alarmAt,omitzero"`
	// Reason is read by the log line, the table and the test.
	Reason string `json:"reason"`
}

// Decide says whether the certificate is to be renewed at the time now. It is a
// pure function.
func (p Policy) Decide(c pki.Certificate, now time.Time) Decision {
	d := Decision{State: c.State, Reason: c.Reason}
	switch {
	case c.Watched, c.Renewer == pki.Nobody && c.Kind != pki.CA, c.State == pki.External:
		return p.alarm(c, d, now)
	case c.Renewer == pki.Restart:
		return p.decideOwn(c, d, now)
	case c.Renewer != pki.Kubeadm:
		return d
	case c.State == pki.Missing:
		return d
	case c.State == pki.Invalid:
		// kubeadm takes subject and names from the certificate on disk and always
		// makes a new key, so a certificate that lost its key is cured by renewing
		// it. One that cannot be read cannot be renewed at all
		// (kubeadm: phases/certs/renewal/manager.go, RenewUsingLocalCA).
		if c.Leaf != nil && c.CAKeyHere && c.KeyPath != "" && !c.KeyMatches {
			d.Renew, d.At = true, now
			d.Reason = c.Reason + "; renewing makes a new pair"
		}
		return d
	}

	before, note := p.ahead(c)
	d.At = c.NotAfter.Add(-before)
	due := !now.Before(d.At)
	switch {
	case c.State == pki.Expired && !c.CAKeyHere:
		d.At = time.Time{}
	case c.State == pki.Expired:
		d.Renew = true
	case due && !c.CAKeyHere:
		d.State, d.At = pki.Due, time.Time{}
	case due:
		d.State, d.Renew = pki.Due, true
		d.Reason = fmt.Sprintf("expires in %s, renewed from %s before the end on%s",
			pki.Span(c.Remaining(now)), pki.Span(before), note)
	default:
		d.Reason = fmt.Sprintf("expires in %s, due in %s%s", pki.Span(c.Remaining(now)), pki.Span(d.At.Sub(now)), note)
	}
	return d
}

// alarm is the decision about a certificate that is watched only, or signed where its CA
// is kept: the same threshold says when its owner is to hear of it.
func (p Policy) alarm(c pki.Certificate, d Decision, now time.Time) Decision {
	if c.State != pki.OK && c.State != pki.External {
		return d
	}
	before, _ := p.before(c)
	if d.Alarm = c.NotAfter.Add(-before); now.Before(d.Alarm) {
		return d
	}
	d.Alarm = c.NotAfter
	if c.State == pki.OK { // external says already who renews it
		d.State, d.Reason = pki.Due, c.Reason+"; it is watched only: whoever made it renews it"
	}
	return d
}

// before is how long before its end the certificate is due, and a remark where
// the policy could not be applied as it stands.
func (p Policy) before(c pki.Certificate) (time.Duration, string) {
	lifetime := lifetime(c)
	before := shorter(p.Before, p.Share, lifetime)
	if before < lifetime || lifetime <= 0 {
		return before, ""
	}
	// A threshold that is not shorter than the lifetime would renew at every look,
	// and never renewing would be worse still.
	return lifetime / 3, fmt.Sprintf(" (renew.before %s is not shorter than the certificate's lifetime of %s: a third of the lifetime is used instead)",
		p, pki.Span(lifetime))
}

// Unfit names the certificates whose lifetime the threshold is not shorter than,
// so that a configuration can be refused while a person is looking.
func (p Policy) Unfit(certificates []pki.Certificate) []string {
	var unfit []string
	for _, c := range certificates {
		if c.Renewer != pki.Kubeadm || c.Leaf == nil {
			continue
		}
		if _, note := p.before(c); note != "" {
			unfit = append(unfit, fmt.Sprintf("%s lives %s", c.Name, pki.Span(c.NotAfter.Sub(c.NotBefore))))
		}
	}
	return unfit
}
