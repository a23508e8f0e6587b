package renew

import (
	"fmt"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Verdict says whether a component has taken up what is on disk.
type Verdict string

const (
	// Loaded is proven: the file is what the component serves, or the process
	// started after the file was written.
	Loaded Verdict = "loaded"
	// Stale is proven: the component serves something else, or can only have read
	// the file before it was written anew.
	Stale Verdict = "stale"
	// Unknown is an answer too: there is no evidence either way.
	Unknown Verdict = "unknown"
)

// Proof is what is known about one holding, and how.
type Proof struct {
	Component   string  `json:"component"`
	Certificate string  `json:"certificate"`
	Verdict     Verdict `json:"verdict"`
	Evidence    string  `json:"evidence"`
	// Older says that the process started before the file was written: the rule by
	// which kubeadm asks for a restart, whatever the process may have reloaded.
	Older bool `json:"older,omitempty"`
	// Until is when a listener that reloads by itself should have done so; zero when
	// that is not waited for.
	Until time.Time `json:"until,omitzero"`
}

// Prove says for every holding on this node whether it is loaded.
func Prove(o Observation) []Proof {
	var proofs []Proof
	for _, h := range o.holdings() {
		certificate, here := o.Certificate(h.Certificate)
		component, running := o.Component(h.Component)
		if !here || certificate.State == pki.Missing {
			continue
		}
		if !running && o.problem(problemOf(h.Component)) == "" && !o.ControlPlane {
			continue
		}
		proofs = append(proofs, prove(o, h, certificate, component))
	}
	return proofs
}

func prove(o Observation, h Holding, certificate pki.Certificate, component Component) Proof {
	p := Proof{Component: h.Component, Certificate: h.Certificate, Verdict: Unknown}
	if why := o.problem(problemOf(h.Component)); why != "" && component.Name == "" {
		p.Evidence = why
		return p
	}
	if !component.Running {
		p.Evidence = h.Component + " is not running"
		if component.Detail != "" {
			p.Evidence += " (" + component.Detail + ")"
		}
		return p
	}

	written := o.written(certificate)
	timeKnown := !component.Started.IsZero() && !written.IsZero() && !written.After(o.At)
	p.Older = timeKnown && !o.readBy(component.Started, certificate)

	if h.Served {
		if served, ok := o.served(h.Component, h.Certificate); ok && served.SHA256 != "" {
			equal, evidence := pki.Compare(certificate, served)
			p.Verdict, p.Evidence = Stale, evidence
			switch until := written.Add(h.Within); {
			case equal:
				p.Verdict = Loaded
			case timeKnown && o.At.Before(until):
				p.Verdict, p.Until = Unknown, until
				p.Evidence += fmt.Sprintf("; it takes up a new file by itself within %s", pki.Span(h.Within))
			}
			return p
		}
	}
	switch {
	case h.Certificate == kubeletClient && !wasGiven(certificate):
		p.Verdict = Loaded
		p.Evidence = "the kubelet writes this file itself and uses a new certificate within 10s"
	case written.After(o.At):
		p.Evidence = fmt.Sprintf("%s was written in the future (%s): the clock was set back or the file was touched",
			certificate.Path, written.UTC().Format(time.RFC3339))
	case !timeKnown:
		p.Evidence = "it is not known when the process started"
	case !p.Older:
		p.Verdict = Loaded
		p.Evidence = fmt.Sprintf("the process started %s after the file was written", pki.Span(component.Started.Sub(written)))
		if component.Started.Before(written) {
			p.Evidence = "the process started while the same certificate was there, before another came and went"
		}
	case wasGiven(certificate):
		p.Verdict = Stale
		p.Evidence = fmt.Sprintf("the kubelet was given this certificate, and started %s before", pki.Span(written.Sub(component.Started)))
	case h.Peer:
		p.Evidence = fmt.Sprintf("the process started %s before the file was written and may keep connections opened with the old one",
			pki.Span(written.Sub(component.Started)))
	case h.Reloads:
		p.Evidence = fmt.Sprintf("the process started %s before the file was written; it reloads the file by itself, which cannot be seen from outside",
			pki.Span(written.Sub(component.Started)))
	default:
		p.Verdict = Stale
		p.Evidence = fmt.Sprintf("the process started %s before the file was written and %s",
			pki.Span(written.Sub(component.Started)), h.atStart(component))
	}
	p.weigh(o, h, certificate, component)
	return p
}

// problemOf is the part of an observation that a component is seen through.
func problemOf(component string) string {
	if component == Kubelet {
		return problemKubelet
	}
	return problemContainers
}

// wanted says why a component must be restarted, or "" if it need not be. With
// RestartAlways that is a certificate that kubeadm renews and that was written after the
// process started; with RestartAuto one that is proven not to be loaded.
//
// A process that is newer than the file is never restarted, whatever it serves:
// another restart would read the same file again. That is what keeps a
// level-triggered loop from restarting a component for ever.
func wanted(o Observation, proofs []Proof, component string, policy RestartPolicies) string {
	for _, p := range proofs {
		certificate, _ := o.Certificate(p.Certificate)
		if p.Component != component || !p.Older || damaged(certificate, o.At) {
			continue // nobody is made to read what is damaged
		}
		switch policy.For(component) {
		case RestartNever:
			return ""
		case RestartAuto:
			if p.Verdict == Stale {
				return fmt.Sprintf("%s: %s", p.Certificate, p.Evidence)
			}
		default:
			if certificate.Renewer == pki.Kubeadm || p.Verdict == Stale {
				return fmt.Sprintf("%s: %s", p.Certificate, p.Evidence)
			}
		}
	}
	return ""
}
