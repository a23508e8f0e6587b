package renew

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Severity is how soon a person must care.
type Severity string

const (
	// Critical is what does not work now, or what nobody keeps from running out.
	Critical Severity = "critical"
	// Warning is what will become that if nothing happens.
	Warning Severity = "warning"
	// Info is good to know and nothing to be done about.
	Info Severity = "info"
)

// Notice is something that is wrong and cannot be cured by the plan it is in.
type Notice struct {
	// ID says what kind of thing it is: it never changes its meaning, and has an entry
	// in docs/troubleshooting.md.
	ID       string
	Severity Severity
	// About is the certificate, file or component.
	About string
	// Text is the sentence that the journal and `kubecertd plan` say.
	Text string
	// Remedy is what the operator has to do; empty where that is nothing.
	Remedy string
	// At is when kubecertd does something about it by itself; zero where it never will.
	At time.Time
}

func (n Notice) String() string { return n.Text }

// MarshalText makes a plan's JSON a list of sentences, which it was before notices had
// more than those. `kubecertd doctor` gives the rest of it.
func (n Notice) MarshalText() ([]byte, error) { return []byte(n.Text), nil }

// UnmarshalText reads it back from the record of a run.
func (n *Notice) UnmarshalText(text []byte) error {
	*n = Notice{Text: string(text)}
	return nil
}

// Notices are what a plan has to say besides what is to be done.
type Notices []Notice

// String is the sentences, one a line.
func (n Notices) String() string {
	lines := make([]string, len(n))
	for i, notice := range n {
		lines[i] = notice.Text
	}
	return strings.Join(lines, "\n")
}

// notice adds one to the plan.
func (p *Plan) notice(n Notice) { p.Notices = append(p.Notices, n) }

// noticeOf is what a person must be told about a certificate that the plan does not
// renew; without a text where that is nothing.
func noticeOf(c pki.Certificate, d Decision) Notice {
	where := cmp.Or(c.Path, c.Address)
	n := Notice{About: c.Name, Severity: Critical, At: d.At}
	switch {
	case d.Renew, c.State == pki.Missing && c.Optional:
		return Notice{}
	case d.State == pki.External && !c.Watched && c.Kind != pki.CA && d.Alarm.Equal(c.NotAfter):
		// It is due, and its reason says who renews it.
		n.ID, n.Severity, n.Text = "renewal-impossible", Warning, fmt.Sprintf("%s is due and cannot be renewed here: %s (%s)", c.Name, d.Reason, where)
		n.Remedy = "renew it where its CA " + cmp.Or(c.CA, "(another's)") + " is, and copy it to " + where
		return n
	case d.State == pki.Due:
		n.Severity = Warning
	case d.State != pki.Missing && d.State != pki.Invalid && d.State != pki.Expired:
		if !c.Watched || d.State == pki.OK {
			return Notice{}
		}
	}
	switch {
	case c.Watched:
		n.ID, n.Text = "watched-certificate", fmt.Sprintf("%s is %s: %s", c.Name, d.State, d.Reason)
		n.Remedy = "kubecertd only watches it: have it renewed by whoever made it"
		return n
	case !d.At.IsZero(): // to be tried again
		n.ID = "renewal-failed"
	case d.State == pki.Due:
		n.ID, n.Text = "renewal-impossible", fmt.Sprintf("%s is due and cannot be renewed here: %s (%s)", c.Name, d.Reason, where)
		n.Remedy = "renew it where its CA " + cmp.Or(c.CA, "(another's)") + " is, and copy it to " + where
		return n
	case c.Kind == pki.CA:
		n.ID, n.Remedy = "ca-unusable", replaceCA
	case c.Name == kubeletClient:
		n.ID, n.Remedy = "kubelet-client-unusable", "give the kubelet a new one: https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/troubleshooting-kubeadm/#kubelet-client-cert"
	case c.Name == kubeletServer:
		n.ID, n.Remedy = "kubelet-server-unusable", "kubectl logs and exec do not work on this node: journalctl -u kubelet"
	case d.State == pki.Expired:
		n.ID, n.Remedy = "certificate-expired", "renew it where its CA "+cmp.Or(c.CA, "(another's)")+" is, and copy it to "+where
	case d.State == pki.Missing && c.Name == adminConf:
		n.ID, n.Severity, n.Remedy = "certificate-missing", Info, "where it is wanted: kubecertd renew "+adminConf
	case d.State == pki.Missing:
		n.ID, n.Remedy = "certificate-missing", "kubecertd backup list; kubecertd backup restore SNAPSHOT"
	default:
		n.ID, n.Remedy = "certificate-invalid", "kubecertd backup list; kubecertd backup restore SNAPSHOT"
	}
	n.Text = fmt.Sprintf("%s is %s: %s (%s)", c.Name, d.State, d.Reason, where)
	if d.State == pki.Due {
		n.Text = fmt.Sprintf("%s: %s (%s)", c.Name, d.Reason, where)
	}
	return n
}

const (
	kubeletClient = "kubelet-client"
	replaceCA     = "replace the CA: https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/"
)

// restartYourself is how a person restarts a component.
func restartYourself(component string) string {
	if component == Kubelet {
		return "systemctl restart kubelet"
	}
	return fmt.Sprintf("crictl stop $(crictl ps -q --name '^%s$'): the kubelet starts it again", component[strings.LastIndex(component, "/")+1:])
}
