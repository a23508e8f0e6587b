package renew

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubecertd/kubecertd/pki"
)

// Condition is what the node's condition CertificateProblem says. It is named after the
// problem, so that False is good.
type Condition struct {
	Status  string // True, False or Unknown
	Reason  string
	Message string
}

// What a Condition's Status can be.
const (
	problemTrue    = "True"
	problemFalse   = "False"
	problemUnknown = "Unknown"
)

// The reasons of a Condition, the worst first. They never change their meaning.
const (
	ReasonExpired  = "CertificateExpired"   // a certificate has run out
	ReasonInvalid  = "CertificateInvalid"   // one is unreadable, missing, or not its CA's
	ReasonStale    = "CertificateNotLoaded" // a process holds an old one
	ReasonFailed   = "RenewalFailed"        // what was tried has failed
	ReasonBlocked  = "RenewalBlocked"       // a gate is closed that does not open by itself
	ReasonCAEnds   = "CAExpiring"           // a CA ends within 90 days
	ReasonWatched  = "WatchedCertificateDue"
	ReasonGood     = "CertificatesAreGood"
	ReasonNotFound = "NoCertificatesFound"
)

// Judge says whether there is a problem with the certificates of a node that people
// should know of. What kubecertd is about to do by itself is none.
func Judge(l Look) Condition {
	o, p := l.Observation, l.Plan
	if len(o.Certificates) == 0 {
		return Condition{problemUnknown, ReasonNotFound, "no certificates of a kubeadm cluster were found on this node"}
	}
	end := ends(o)
	problem := func(reason, text string) Condition { return Condition{problemTrue, reason, brief(text) + end} }
	named := func(of func(pki.Certificate, pki.State) bool) (names []string) {
		for i, c := range o.Certificates {
			state := c.State
			if i < len(p.Decisions) {
				state = p.Decisions[i].State
			}
			if of(c, state) {
				names = append(names, c.Name)
			}
		}
		return names
	}
	expired := named(func(_ pki.Certificate, s pki.State) bool { return s == pki.Expired })
	invalid := named(func(c pki.Certificate, s pki.State) bool {
		return s == pki.Invalid || s == pki.Missing && !c.Optional
	})
	watched := named(func(c pki.Certificate, s pki.State) bool { return c.Watched && s == pki.Due })
	ca := slices.IndexFunc(p.Notices, func(n Notice) bool { return n.ID == "ca-ends" && n.Severity != Info })
	stale := l.Stale()
	switch {
	case len(expired) > 0:
		return problem(ReasonExpired, "expired: "+strings.Join(expired, ", "))
	case len(invalid) > 0:
		return problem(ReasonInvalid, "missing or invalid: "+strings.Join(invalid, ", "))
	case len(stale) > 0:
		return problem(ReasonStale, "not loaded by "+strings.Join(stale, ", "))
	case len(o.Failures) > 0:
		return problem(ReasonFailed, failed(o.Failures))
	case p.Work() && len(p.Blocked) > 0 && !l.waits():
		return problem(ReasonBlocked, fmt.Sprintf("blocked by %s: %s", p.Blocked[0].Name, withoutDigits(p.Blocked[0].Reason)))
	case ca >= 0:
		return problem(ReasonCAEnds, fmt.Sprintf("CA %s ends soon", p.Notices[ca].About))
	case len(watched) > 0:
		return problem(ReasonWatched, "due, and only watched: "+strings.Join(watched, ", "))
	default:
		return Condition{problemFalse, ReasonGood, "every certificate is valid and loaded" + end}
	}
}

// failed names what has failed, and why the first of it has.
func failed(failures map[string]Failure) string {
	var steps []string
	for step := range failures {
		steps = append(steps, step)
	}
	slices.Sort(steps)
	return strings.Join(steps, ", ") + " failed: " + failures[steps[0]].Error
}

// ends says what ends first, by its date: how long that is would change with every look.
func ends(o Observation) string {
	var first pki.Certificate
	for _, c := range o.Certificates {
		if !c.NotAfter.IsZero() && (first.NotAfter.IsZero() || c.NotAfter.Before(first.NotAfter)) {
			first = c
		}
	}
	if first.NotAfter.IsZero() {
		return ""
	}
	return fmt.Sprintf("; %s expires first, %s", brief(first.Name), first.NotAfter.UTC().Format(pki.TimeLayout))
}
