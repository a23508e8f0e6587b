package renew

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/kubecertd/kubecertd/pki"
)

func (s Severity) level() zapcore.Level {
	switch s {
	case Critical:
		return zapcore.ErrorLevel
	case Warning:
		return zapcore.WarnLevel
	default:
		return zapcore.InfoLevel
	}
}

// horizons are from how long before its end a CA is spoken of, and how severe that is. To
// replace one takes weeks and every node of the cluster.
var horizons = []struct {
	before   time.Duration
	severity Severity
}{{30 * 24 * time.Hour, Critical}, {90 * 24 * time.Hour, Warning}, {365 * 24 * time.Hour, Info}}

// authorities are what is to be said of the node's CAs, those that sign and those that
// are being replaced.
func authorities(o Observation) []Notice {
	var list []Notice
	for _, ca := range o.Certificates {
		if ca.Kind != pki.CA || ca.Watched || ca.Leaf == nil {
			continue
		}
		for _, h := range horizons {
			if (ca.State == pki.OK || ca.State == pki.External) && ca.Remaining(o.At) <= h.before {
				list = append(list, Notice{ID: "ca-ends", Severity: h.severity, About: ca.Name, Remedy: replaceCA,
					Text: fmt.Sprintf("the CA %s (%s) ends in %s, %s, and everything that it has signed with it",
						ca.Name, ca.Path, pki.Span(ca.Remaining(o.At)), ca.NotAfter.UTC().Format(pki.TimeLayout))})
				break
			}
		}
		if len(ca.Bundle) > 0 {
			list = append(list, Notice{ID: "ca-replaced", Severity: Info, About: ca.Name, Text: rotation(o, ca)})
		}
	}
	return list
}

// rotation says how far the replacement of a CA is, whose file holds several.
func rotation(o Observation, ca pki.Certificate) string {
	text := fmt.Sprintf("%s holds %d certificates, so that the CA %s is being replaced: kubeadm signs with the first (%s, until %s)",
		ca.Path, len(ca.Bundle)+1, ca.Name, ca.Subject, ca.NotAfter.UTC().Format(pki.TimeLayout))
	for _, other := range ca.Bundle {
		var signed []string
		for _, c := range o.Certificates {
			if c.CA == ca.Name && c.Signer == other.SHA256 {
				signed = append(signed, c.Name)
			}
		}
		if len(signed) > 0 {
			text += fmt.Sprintf("; signed by another of them (%s, until %s) are still %s", other.Subject, other.NotAfter.UTC().Format(pki.TimeLayout), strings.Join(signed, ", "))
		}
	}
	return text
}

// outlive says of what is to be renewed that the new certificate would end with its CA, or
// after it where kubeadm cannot be told otherwise.
func (p *Plan) outlive(o Observation, c clusterConfig) {
	for i, r := range p.Renew {
		leaf, _ := o.Certificate(r.Certificate)
		ca, _ := o.Certificate(leaf.CA)
		if ca.Leaf == nil || c.Validity <= ca.Remaining(o.At) || ca.Remaining(o.At) <= 0 {
			continue
		}
		end := ca.NotAfter.UTC().Format(pki.TimeLayout)
		if c.Caps {
			p.Renew[i].Reason += fmt.Sprintf("; the new one ends with its CA %s, %s", ca.Name, end)
			continue
		}
		p.notice(Notice{ID: "ca-ends", Severity: Warning, About: ca.Name, Remedy: replaceCA,
			Text: fmt.Sprintf("the CA %s (%s) ends in %s, %s, and everything that it has signed with it: the new %s will say that it is valid for longer, because a cluster configuration before v1beta4 cannot set the validity",
				ca.Name, ca.Path, pki.Span(ca.Remaining(o.At)), end, r.Certificate)})
	}
}

// worthless says why nothing that a CA has signed, or would sign, is of use to those who
// verify it: it has run out, or is not there to be read. It is empty where only its key is
// missing or wrong.
func (o Observation) worthless(name string) string {
	ca, here := o.Certificate(name)
	if name == "" || !here || ca.Kind != pki.CA {
		return ""
	}
	switch {
	case ca.State == pki.Missing && !ca.Optional, ca.State == pki.Invalid && ca.Leaf == nil:
		return fmt.Sprintf("the CA %s is %s: %s (%s): nothing that it has signed is renewed or restarted: put it back from a backup, or from another control-plane node",
			ca.Name, ca.State, ca.Reason, ca.Path)
	case ca.State != pki.Missing && !ca.NotAfter.IsZero() && o.At.After(ca.NotAfter):
		return fmt.Sprintf("the CA %s (%s) is expired since %s: nothing that it has signed is renewed or restarted: %s",
			ca.Name, ca.Path, ca.NotAfter.UTC().Format(pki.TimeLayout), replaceCA)
	}
	return ""
}

// orphaned says why a component is not restarted: a CA of what it holds has run out, and
// a process that starts now would be refused by those that the one of before is still
// connected to.
func (o Observation) orphaned(component string) string {
	var seen []string
	for _, h := range o.holdings() {
		c, here := o.Certificate(h.Certificate)
		if h.Component != component || h.Peer || !here || slices.Contains(seen, c.CA) {
			continue
		}
		seen = append(seen, c.CA)
		if why := o.worthless(c.CA); why != "" {
			return why
		}
	}
	return ""
}
