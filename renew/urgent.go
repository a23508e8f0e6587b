package renew

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Margin is how near its end a certificate is urgent: an absolute time, a share of its
// lifetime, or whichever of the two is shorter for the certificate at hand.
type Margin struct {
	Before time.Duration // 0 means not set
	Share  float64       // above 0 and below 1; 0 means not set
}

// of is the margin of a certificate.
func (m Margin) of(c pki.Certificate) time.Duration {
	before := shorter(m.Before, m.Share, lifetime(c))
	// One that is longer than the certificate lives would make everything urgent at once.
	if life := lifetime(c); life > 0 && before >= life {
		return life / 3
	}
	return before
}

// shorter is the shorter of an absolute time and a share of a lifetime, of those that
// are set.
func shorter(before time.Duration, share float64, lifetime time.Duration) time.Duration {
	var part time.Duration
	if share > 0 {
		part = time.Duration(share * float64(lifetime))
	}
	if before > 0 && (part == 0 || before < part) {
		return before
	}
	return part
}

// lifetime is how long a certificate lives, as far as it is known when it was issued.
func lifetime(c pki.Certificate) time.Duration {
	if life := c.NotAfter.Sub(c.Issued); !c.Issued.IsZero() && life > 0 {
		return life
	}
	return c.NotAfter.Sub(c.NotBefore)
}

// Critical says whether a certificate is so near its end, or so useless already, that
// its renewal waits for no maintenance window and no other node's turn, and why. It is a
// pure function.
func (p Policy) Critical(c pki.Certificate, now time.Time) (critical bool, reason string) {
	switch margin := p.Margin.of(c); {
	case c.State == pki.Missing, c.State == pki.Invalid:
		return true, fmt.Sprintf("%s is %s", c.Name, c.State)
	case c.NotAfter.IsZero():
		return false, ""
	case now.After(c.NotAfter):
		return true, fmt.Sprintf("%s expired %s ago", c.Name, pki.Span(now.Sub(c.NotAfter)))
	case !now.Before(c.NotAfter.Add(-margin)):
		return true, fmt.Sprintf("%s expires in %s, critical are the last %s", c.Name, pki.Span(c.Remaining(now)), pki.Span(margin))
	default:
		return false, ""
	}
}

// criticalAt is when a certificate becomes critical; zero when nobody knows its end.
func (p Policy) criticalAt(c pki.Certificate) time.Time {
	if c.NotAfter.IsZero() {
		return time.Time{}
	}
	return c.NotAfter.Add(-p.Margin.of(c))
}

// urgent says why a plan waits for nobody: something that it renews is critical, or what
// the process of a component that it restarts holds still. It is empty when all of it can
// wait.
func (p Plan) urgent(o Observation, policy Policy) string {
	var reasons []string
	for _, r := range p.Renew {
		if why := r.urgent(o, policy); why != "" {
			reasons = append(reasons, why)
		}
	}
	for _, r := range p.Restart {
		if why := r.urgent(o, policy); why != "" {
			reasons = append(reasons, why)
		}
	}
	if more := len(reasons) - 3; more > 0 {
		reasons = append(reasons[:3], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(reasons, "; ")
}

func (r Renewal) urgent(o Observation, policy Policy) string {
	c, _ := o.Certificate(r.Certificate)
	if f := FindKubeletFault(o, policy); c.Kubelet != nil && f.State != pki.Due {
		return f.Reason // the kubelet cannot start, whatever its certificate says
	}
	_, why := policy.Critical(c, o.At)
	return why
}

// urgent says which certificate of those that a stale process still holds is critical,
// as far as it is known what it holds: from the ledger, or from what it serves.
func (r Restart) urgent(o Observation, policy Policy) string {
	component, _ := o.Component(r.Component)
	for _, h := range o.holdings() {
		c, here := o.Certificate(h.Certificate)
		if h.Component != r.Component || !here {
			continue
		}
		held, known := o.inProcess(h, component, c)
		if !known {
			continue
		}
		if critical, why := policy.Critical(held, o.At); critical {
			return fmt.Sprintf("%s still holds what it has read before: %s", r.Component, why)
		}
	}
	for _, w := range cured(o, policy, r.Component) {
		if critical, why := policy.Critical(w.certificate, o.At); critical {
			return why
		}
	}
	return ""
}

// inProcess is the certificate that a process which has not taken up what is on disk
// still holds, and whether that is known. Of the old one only its end matters, and it
// lived as long as the new one does.
func (o Observation) inProcess(h Holding, component Component, c pki.Certificate) (held pki.Certificate, known bool) {
	var sha256 string
	held = c
	if served, asked := o.served(h.Component, h.Certificate); h.Served && asked && served.SHA256 != "" {
		sha256, held.NotAfter = served.SHA256, served.NotAfter
	} else if !h.Reloads && !h.Peer && !component.Started.IsZero() {
		for _, content := range slices.Backward(o.Contents[c.Name]) {
			if !component.Started.Before(content.Since) {
				sha256, held.NotAfter = content.SHA256, content.NotAfter
				break
			}
		}
	}
	if sha256 == "" || sha256 == c.SHA256 || held.NotAfter.IsZero() {
		return held, false
	}
	life := lifetime(c)
	held.Issued, held.NotBefore = held.NotAfter.Add(-life), held.NotAfter.Add(-life)
	held.State = pki.OK
	return held, true
}
