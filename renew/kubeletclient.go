package renew

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// The kubelet renews its client certificate itself, as long as it can start and the
// cluster signs. What follows is for when it cannot.

// Cure is how what is wrong with the kubelet's client certificate is put right.
type Cure string

const (
	// CurePoint has the kubelet's kubeconfig name the file that the kubelet rotates, which
	// is good.
	CurePoint Cure = "point"
	// CureMove moves a good certificate from the kubeconfig into that file.
	CureMove Cure = "move"
	// CureMake has kubeadm make a new one for that file.
	CureMake Cure = "make"
	// CureStart starts a kubelet that was given a certificate and has not started since.
	CureStart Cure = "start"
)

// KubeletFault is what is wrong with how the kubelet comes by its client certificate.
type KubeletFault struct {
	// State is as of a Decision: due is what still works.
	State pki.State `json:"state,omitempty"`
	// Reason is one sentence; empty where nothing is wrong.
	Reason string `json:"reason,omitempty"`
	// Cure is what kubecertd does about it; empty where it does nothing, and Remedy is what
	// the operator can do then.
	Cure   Cure   `json:"cure,omitempty"`
	Remedy string `json:"remedy,omitempty"`
	// Node is this node's name, and Sure says that it is not only a guess from the
	// certificate or the host's name.
	Node string `json:"node"`
	Sure bool   `json:"sure,omitempty"`
}

// FindKubeletFault judges how the kubelet comes by its client certificate. It is a pure
// function.
func FindKubeletFault(o Observation, policy Policy) KubeletFault {
	c, _ := o.Certificate(kubeletClient)
	k := c.Kubelet
	if k == nil {
		return KubeletFault{}
	}
	f := KubeletFault{State: c.State}
	f.Node, f.Sure = nodeName(o, c)
	good := k.Rotating.State == pki.OK && f.misfit(k.Rotating) == ""
	misfit := f.misfit(c)
	kubelet, _ := o.Component(Kubelet)
	broken := CureMake
	if good {
		broken = CurePoint
	}
	switch {
	case k.Damaged != "":
		f.State, f.Reason, f.Cure = pki.Invalid, fmt.Sprintf("%s cannot be used: %s", k.Kubeconfig, k.Damaged), broken
	case c.Leaf != nil && o.At.Before(c.NotBefore):
		f.Reason = c.Reason // the clock's fault, or it cures itself
		return f
	case c.State != pki.OK:
		f.Reason, f.Cure = c.Reason, broken
	case misfit != "":
		f.State, f.Reason, f.Cure = pki.Invalid, misfit, broken
	case k.Embedded && good:
		f.State, f.Cure = pki.Due, CurePoint
		f.Reason = embedded(c)
	case k.Embedded:
		f.State, f.Cure = pki.Due, CureMove
		f.Reason = embedded(c)
	case o.rotationStopped(c, kubelet):
		f.State, f.Cure = pki.Due, CureMake
		f.Reason = fmt.Sprintf("the kubelet's rotation has stopped: it should have replaced the certificate by %s, and it ends %s",
			lastRotation(c).UTC().Format(pki.TimeLayout), c.NotAfter.UTC().Format(pki.TimeLayout))
	case k.Given && !kubelet.Running && kubelet.Name != "" && !kubelet.Stopped && !o.readBy(kubelet.Started, c):
		f.State, f.Cure = pki.Due, CureStart
		f.Reason = "the kubelet was given this certificate and has not started since"
	default:
		f.State = c.State
		return f
	}
	f.settle(o, policy, c, kubelet)
	return f
}

// settle takes the cure back where it cannot or must not be carried out, and says what
// the operator can do.
func (f *KubeletFault) settle(o Observation, policy Policy, c pki.Certificate, kubelet Component) {
	k := c.Kubelet
	ca, _ := o.Certificate("ca")
	api, _ := o.Certificate("apiserver")
	switch {
	case api.State == pki.Invalid && api.KeyMatches && !o.At.Before(api.NotBefore):
		// Nothing is of this CA: it is being replaced, and the kubelet goes on with the one
		// before until the API server does not.
		f.Cure = ""
		f.Remedy = "the API server's certificate is not of the CA in " + ca.Path + " either: make all of them anew, or put the CA from before back"
	case k.Bootstrap != "" && f.Cure != CureStart:
		f.Cure = ""
		f.Remedy = fmt.Sprintf("the kubelet may still be asking for its first certificate with %s and is left alone; if it is not, remove that file", k.Bootstrap)
	case f.Node == "" && f.Cure == CureMake:
		f.Cure = ""
		f.Remedy = "this node's name is not known: " + byHand("NODE", k)
	case (f.Cure == CureMake || k.Damaged != "") && !ca.CAKeyHere:
		f.Cure = ""
		f.Remedy = byHand(f.Node, k)
	case kubelet.Running && policy.Restart.For(Kubelet) == RestartNever:
		f.Cure = ""
		f.Remedy = "the kubelet is not to be restarted (restart.policy is never): point " + k.Kubeconfig + " at " + k.Rotating.Path + " and restart it yourself"
	}
}

// byHand is what an operator does where kubecertd cannot make a credential: the
// documented way (kubernetes.io: troubleshooting-kubeadm, kubelet client certificate
// rotation fails). What remains, kubecertd finds at its next look.
func byHand(node string, k *pki.KubeletClient) string {
	return fmt.Sprintf("on a control-plane node that has the CA's key: "+
		"kubectl -n kube-system get configmap kubeadm-config -o jsonpath='{.data.ClusterConfiguration}' >cluster.yaml && "+
		"kubeadm kubeconfig user --config cluster.yaml --org system:nodes --client-name system:node:%s >kubelet.conf; "+
		"copy that kubelet.conf to %s here (mode 600), then here: rm -f %s && systemctl restart kubelet",
		node, k.Kubeconfig, k.Rotating.Path)
}

// embedded says what is wrong with a certificate in the kubeconfig itself.
func embedded(c pki.Certificate) string {
	return fmt.Sprintf("it is embedded in %s, which the kubelet never renews: from %s on the kubelet would not start any more",
		c.Kubelet.Kubeconfig, c.NotAfter.UTC().Format(pki.TimeLayout))
}

const nodePrefix = "system:node:"

// misfit says why a certificate is not this node's; empty when it is, or nobody can tell.
func (f KubeletFault) misfit(c pki.Certificate) string {
	if c.Leaf == nil {
		return ""
	}
	node, isNode := strings.CutPrefix(c.Leaf.Subject.CommonName, nodePrefix)
	switch {
	case !isNode || !slices.Contains(c.Leaf.Subject.Organization, "system:nodes"):
		return fmt.Sprintf("it is a certificate of %s and not of a node", c.Leaf.Subject)
	case f.Sure && node != f.Node:
		return fmt.Sprintf("it is the certificate of node %s, and this is node %s", node, f.Node)
	}
	return ""
}

// nodeName is this node's name, as its kubelet is called, and whether that is more than a
// guess: what the kubelet was told, or under which name it has made its static pods.
func nodeName(o Observation, c pki.Certificate) (name string, sure bool) {
	if c.Kubelet.Override != "" {
		return c.Kubelet.Override, true
	}
	for _, component := range o.Components {
		if node, ok := strings.CutPrefix(component.Pod, component.Name+"-"); ok && node != "" && slices.Contains(Order, component.Name) {
			return node, true
		}
	}
	for _, of := range []pki.Certificate{c, c.Kubelet.Rotating} {
		if of.Leaf == nil {
			continue
		}
		if node, ok := strings.CutPrefix(of.Leaf.Subject.CommonName, nodePrefix); ok && node != "" {
			return node, false
		}
	}
	return c.Kubelet.Hostname, false
}

// lastRotation is when the kubelet replaces its certificate at the latest: between 70 and
// 90 % of its life, anew at each start (client-go: util/certificate/certificate_manager.go,
// nextRotationDeadline).
func lastRotation(c pki.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 10 * 9)
}

// rotationStopped says that the kubelet has run with a certificate beyond that time for so
// long that it will not replace it any more: it tries again every half minute.
func (o Observation) rotationStopped(c pki.Certificate, kubelet Component) bool {
	since := lastRotation(c)
	for _, begun := range []time.Time{kubelet.Started, o.written(c)} {
		if begun.After(since) {
			since = begun
		}
	}
	margin := min(max(c.NotAfter.Sub(c.NotBefore)/50, leastMargin), mostMargin)
	return kubelet.Running && !kubelet.Started.IsZero() && o.At.After(since.Add(margin))
}

const (
	leastMargin = 45 * time.Second
	mostMargin  = 24 * time.Hour
)

// decideKubelet is the decision about the kubelet's client certificate, and what is wrong
// with it; without a cure where it is not carried out now.
func decideKubelet(o Observation, policy Policy, c pki.Certificate, d Decision, wish Wish) (Decision, KubeletFault) {
	f := FindKubeletFault(o, policy)
	if f.Reason == "" {
		return d, f
	}
	d.State, d.Reason = f.State, f.Reason
	if f.Cure == "" {
		return d, f
	}
	d.Renew, d.At = true, o.At
	if until, why := o.held(policy.Retry, "renew "+kubeletClient, c.Remaining(o.At)); why != "" && !wish.wants(kubeletClient) {
		d.Renew, d.At, d.Reason, f.Cure = false, until, d.Reason+"; its repair "+why, ""
	}
	return d, f
}

// notice says with what a certificate's notice says what the operator can do.
func (f KubeletFault) notice(n Notice) Notice {
	if n.Text == "" || f.Remedy == "" {
		return n
	}
	n.ID, n.Remedy, n.Text = "kubelet-client-unusable", f.Remedy, n.Text+": "+f.Remedy
	if f.State == pki.Due {
		n.ID = "kubelet-client-endangered"
	}
	return n
}

// Mends says that the plan gives the kubelet its client certificate back, and does
// nothing else.
func (p Plan) Mends() bool {
	return slices.ContainsFunc(p.Renew, func(r Renewal) bool { return r.Certificate == kubeletClient })
}

// mendFirst leaves in a plan that mends the kubelet nothing else: only a kubelet that can
// start brings back what is stopped for the rest, and the rest is looked at anew once it
// does. It needs nothing of what else is broken.
func (p *Plan) mendFirst() {
	if !p.Mends() {
		return
	}
	var later []string
	p.Renew = slices.DeleteFunc(p.Renew, func(r Renewal) bool {
		if r.Certificate == kubeletClient {
			return false
		}
		later = append(later, r.Certificate)
		return true
	})
	for _, r := range p.Restart {
		if r.Component != Kubelet {
			later = append(later, "the restart of "+r.Component)
		}
	}
	p.Restart = []Restart{{Kubelet, kubeletClient + ": " + p.Renew[0].Reason}}
	if len(later) > 0 {
		p.notice(Notice{ID: "kubelet-first", Severity: Info, At: p.At,
			Text: "the kubelet comes first, since it brings back what is stopped; then follow: " + strings.Join(later, ", ")})
	}
}

// wasGiven says that a certificate is one that the kubelet was given, and has not rotated
// since: only a start makes it read that.
func wasGiven(c pki.Certificate) bool { return c.Kubelet != nil && c.Kubelet.Given }
