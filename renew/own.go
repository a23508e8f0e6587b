package renew

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// decideOwn is Decide for a certificate that its process makes itself, at its start.
// Nobody can renew it; what cures it is a restart, which Decide (the plan) asks for.
func (p Policy) decideOwn(c pki.Certificate, d Decision, now time.Time) Decision {
	if c.State != pki.OK && c.State != pki.Expired {
		return d
	}
	before, note := p.ahead(c)
	d.At = c.NotAfter.Add(-before)
	switch {
	case c.State == pki.Expired:
	case !now.Before(d.At):
		d.State = pki.Due
		d.Reason = fmt.Sprintf("expires in %s, only a restart makes a new one%s", pki.Span(c.Remaining(now)), note)
	default:
		d.Reason = fmt.Sprintf("expires in %s, due in %s%s", pki.Span(c.Remaining(now)), pki.Span(d.At.Sub(now)), note)
	}
	return d
}

// wear is a certificate near its end that its component makes anew when it is
// restarted, and whether it is restarted for it.
type wear struct {
	certificate pki.Certificate
	component   string
	reason      string    // empty where there is none
	not         string    // why it is not restarted for it
	until       time.Time // and until when; zero where that is not known
}

func (w wear) worn() bool { return w.reason != "" }

// cures says that a restart is the cure, and nothing speaks against it.
func (w wear) cures() bool { return w.worn() && w.not == "" }

func (w wear) String() string {
	text := fmt.Sprintf("%s of %s %s", w.certificate.Name, w.component, w.reason)
	if w.not != "" {
		text += "; " + w.not
	}
	return text
}

// notice says why a component is not restarted for what it must make anew.
func (w wear) notice() Notice {
	n := Notice{ID: "own-certificate", About: w.certificate.Name, Severity: Warning, Text: w.String(), At: w.until}
	if w.certificate.State == pki.Expired {
		n.Severity = Critical
	}
	if w.until.IsZero() {
		n.Remedy = restartYourself(w.component)
	}
	return n
}

const (
	// settled is how old a certificate that a process made at its start must be for
	// another start to be worth it. They are made for a year and more; one that is due
	// on its first day was made by a wrong clock, or would be due again the next.
	settled = 24 * time.Hour
	// tries is how often a restart may bring a certificate that is due at once.
	tries = 2
)

// worn judges one certificate that only a restart replaces.
func worn(o Observation, policy Policy, c pki.Certificate) wear {
	w := wear{certificate: c, component: maker(c)}
	d := policy.Decide(c, o.At)
	if c.Renewer != pki.Restart || (d.State != pki.Due && d.State != pki.Expired) {
		return w
	}
	w.reason = d.Reason
	if d.State == pki.Expired {
		w.reason += ", only a restart makes a new one"
	}
	failure := o.Failures["renew "+c.Name]
	until, held := o.held(policy.Retry, "renew "+c.Name, c.Remaining(o.At))
	switch age := o.At.Sub(c.Issued); {
	case c.Kind != pki.Memory && notServed(o, c) != "":
		w.not = notServed(o, c)
	case policy.Restart.For(w.component) == RestartNever:
		w.not = "it is not to be restarted (restart.policy is never): restart it yourself"
	case age < settled:
		w.not = fmt.Sprintf("it was made only %s ago, and a restart would make another like it: is the clock right?", pki.Span(age))
		if age >= 0 {
			w.until = c.Issued.Add(settled)
		}
	case failure.Count >= tries:
		w.not = fmt.Sprintf("%d restarts have not cured it, and no further is tried: %s", failure.Count, failure.Error)
	case held != "":
		w.not, w.until = "its restart "+held, until
	}
	return w
}

// notServed says why the file of a certificate may be none that its component made for
// itself: it may have been told on its command line to serve another.
func notServed(o Observation, c pki.Certificate) string {
	served, asked := o.served(maker(c), c.Name)
	switch equal, evidence := pki.Compare(c, served); {
	case equal:
		return ""
	case !asked:
		return "its port was not asked whether it serves it"
	default:
		return "it is left as it is: " + evidence
	}
}

// maker is the component that makes a certificate itself.
func maker(c pki.Certificate) string { return cmp.Or(c.Component, Kubelet) }

// cured are the certificates for which a component is restarted.
func cured(o Observation, policy Policy, component string) []wear {
	var list []wear
	for _, c := range o.Certificates {
		if w := worn(o, policy, c); w.component == component && w.cures() {
			list = append(list, w)
		}
	}
	return list
}

// needed says why a component must be restarted, or "" if it need not be: because of
// what it has not loaded, or of what it made itself and must make anew.
func needed(o Observation, proofs []Proof, component string, policy Policy) string {
	return together(wanted(o, proofs, component, policy.Restart), cured(o, policy, component))
}

// together is a reason for a restart with those that follow from what the component is
// to make anew.
func together(reason string, cures []wear) string {
	var reasons []string
	if reason != "" {
		reasons = append(reasons, reason)
	}
	for _, w := range cures {
		reasons = append(reasons, "its "+w.certificate.Name+" "+w.reason)
	}
	return strings.Join(reasons, "; ")
}

// renewal is a certificate that a restart of this run is to replace, as it was.
type renewal struct{ name, sha256 string }

// replacing notes the certificates that the restarts of this run are to replace.
func (r *run) replacing(o Observation, restarts []string) {
	for _, name := range restarts {
		for _, w := range cured(o, r.Policy, name) {
			r.replaced = append(r.replaced, renewal{w.certificate.Name, w.certificate.SHA256})
		}
	}
}

// unreplaced says why a certificate is not seen to be replaced by one that is not due;
// nil when it is.
func (r *run) unreplaced(o Observation, was renewal) error {
	c, _ := o.Certificate(was.name)
	switch d := r.Policy.Decide(c, o.At); {
	case c.SHA256 == "":
		return fmt.Errorf("%s is not shown: %s", was.name, c.Reason)
	case c.SHA256 == was.sha256:
		return fmt.Errorf("%s is the one from before the restart, and %s", was.name, d.Reason)
	case d.State != pki.OK:
		return fmt.Errorf("%s is new and %s: %s: is the clock right?", was.name, d.State, d.Reason)
	default:
		return nil
	}
}

// recordReplaced writes down what became of them, so that a restart that does not cure
// is not repeated for ever. Not all were to be replaced when a restart has failed.
func (r *run) recordReplaced(o Observation, all bool) error {
	var failed []error
	for _, was := range r.replaced {
		c, _ := o.Certificate(was.name)
		if !all && (c.SHA256 == "" || c.SHA256 == was.sha256) {
			continue // its component may not have been restarted
		}
		err := r.unreplaced(o, was)
		if err == nil {
			r.log.Info("certificate made anew", event(EventRenewed), zap.String("certificate", c.Name), zap.String("component", maker(c)),
				zap.Time("not_after", c.NotAfter), zap.String("serial", c.Serial))
		}
		failed = append(failed, r.end("renew "+was.name, c.Reason, "", err))
	}
	return errors.Join(failed...)
}
