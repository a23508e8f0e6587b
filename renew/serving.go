package renew

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// With serverTLSBootstrap the kubelet asks the cluster for what it serves, and nobody in
// Kubernetes approves that: who does has to know which names and addresses are the
// node's. Until somebody has, `kubectl logs` and `exec` do not work for the node.

// signingRequests are what this node's kubelet asks of the cluster for its serving
// certificate.
type signingRequests interface {
	List(ctx context.Context, node string) ([]SigningRequest, error)
	// Approve approves one as it was last listed.
	Approve(ctx context.Context, name, reason string) error
}

// SigningRequest is a CertificateSigningRequest of a kubelet for its serving certificate.
type SigningRequest struct {
	Name     string    `json:"name"`
	Created  time.Time `json:"created,omitzero"`
	Username string    `json:"username"`
	Groups   []string  `json:"groups"`
	Usages   []string  `json:"usages"`
	PEM      []byte    `json:"-"`
	Approved bool      `json:"approved,omitempty"`
	Denied   bool      `json:"denied,omitempty"`
	Failed   bool      `json:"failed,omitempty"`
	Said     string    `json:"said,omitempty"` // by whoever denied it
	Issued   bool      `json:"issued,omitempty"`
}

// pending says that somebody has yet to decide about it.
func (r SigningRequest) pending() bool { return !r.Approved && !r.Denied && !r.Failed }

// Serving is what the kubelet has asked for, newest first, and why that could not be seen.
type Serving struct {
	Requests []SigningRequest `json:"requests,omitempty"`
	Error    string           `json:"error,omitempty"`
	// Refused is why the newest is not approved here; empty when it may be.
	Refused string `json:"refused,omitempty"`
	// Approving says that the configuration wants it approved here.
	Approving bool `json:"approving,omitempty"`
}

const (
	// servingDeadline bounds what is asked about the requests.
	servingDeadline = 4 * time.Second
	// rotates is from which share of a certificate's life on the kubelet asks for another:
	// from 70 to 90% on, as chance will have it (client-go:
	// util/certificate/certificate_manager.go, nextRotationDeadline).
	rotates = 0.7
	overdue = 0.9
	// asks is how long a kubelet may take after its start to ask.
	asks = 2 * time.Minute
)

// wantsServing says whether the kubelet asks the cluster for what it serves, and should
// be asking now, or by now have asked. Anybody else's requests are not looked at.
func wantsServing(o Observation) (c pki.Certificate, should, must bool) {
	c, here := o.Certificate(kubeletServer)
	if !here || c.Renewer != pki.Kubelet {
		return c, false, false
	}
	if c.State != pki.OK {
		kubelet, _ := o.Component(Kubelet)
		return c, true, kubelet.Running && o.At.Sub(kubelet.Started) > asks
	}
	life := c.NotAfter.Sub(c.NotBefore)
	share := func(part float64) bool {
		return !o.At.Before(c.NotBefore.Add(time.Duration(part * float64(life))))
	}
	return c, share(rotates), share(overdue)
}

// askServing looks what has become of the requests of this node's kubelet.
func (n *Node) askServing(ctx context.Context, o *Observation) {
	_, should, _ := wantsServing(*o)
	if n.SigningRequests == nil || !should || o.node() == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, servingDeadline)
	defer cancel()
	s := &Serving{Approving: n.ApproveServing}
	o.Serving = s
	list, err := n.SigningRequests.List(ctx, o.node())
	if err != nil {
		s.Error = err.Error()
		return
	}
	slices.SortFunc(list, func(a, b SigningRequest) int { return b.Created.Compare(a.Created) })
	s.Requests = list
	if !s.Approving || len(list) == 0 || !list[0].pending() {
		return
	}
	switch own, err := n.Identity(); {
	case !o.ControlPlane:
		s.Refused = "only a control-plane node has the credentials for it"
	case err != nil:
		s.Refused = "which names and addresses this host has cannot be told: " + err.Error()
	default:
		s.Refused = refusal(list[0], o.node(), own)
	}
}

// decideServing adds to a plan what is to be said about the kubelet's requests.
func decideServing(o Observation, policy Policy, p *Plan) {
	c, should, must := wantsServing(o)
	if !should || o.Serving == nil {
		return
	}
	n := Notice{Severity: Warning, About: kubeletServer}
	if c.State != pki.OK {
		n.Severity = Critical
		// It changes while nobody's file does.
		if until := o.At.Add(max(policy.Retry.After, time.Minute)); p.Next.IsZero() || until.Before(p.Next) {
			p.Next, p.NextReason = until, "the kubelet's request for a serving certificate is looked at again"
		}
	}
	var newest SigningRequest
	if len(o.Serving.Requests) > 0 {
		newest = o.Serving.Requests[0]
	}
	command := "kubectl --kubeconfig /etc/kubernetes/admin.conf "
	what := fmt.Sprintf("the kubelet's request %s for a serving certificate ", newest.Name)
	switch {
	case o.Serving.Error != "":
		n.ID, n.Text = "csr-unseen", "whether the kubelet has asked for a serving certificate cannot be seen: "+o.Serving.Error
		n.Remedy = command + "get csr"
	case newest.Name == "" && must:
		n.ID, n.Text = "csr-missing", fmt.Sprintf("the kubelet has not asked for a serving certificate although %s is %s", c.Path, stands(c, o.At))
		n.Remedy = "journalctl -u kubelet | grep -i certificate; systemctl restart kubelet"
	case newest.Name == "" || newest.Issued:
		return
	case newest.Denied:
		n.ID, n.Text = "csr-denied", what+"was denied: "+newest.Said
		n.Remedy = command + "describe csr " + newest.Name + "; when it is not denied any more: systemctl restart kubelet"
	case newest.Failed:
		n.ID, n.Text = "csr-failed", what+"could not be signed: "+newest.Said
		n.Remedy = command + "describe csr " + newest.Name
	case newest.Approved:
		n.ID, n.Text = "csr-unsigned", what+"is approved and not signed yet: kube-controller-manager does that"
		n.Remedy = "crictl ps -a --name kube-controller-manager"
	case o.Serving.Approving && o.Serving.Refused != "":
		n.ID, n.Text = "csr-refused", what+"is not approved by kubecertd: "+o.Serving.Refused
		n.Remedy = command + "describe csr " + newest.Name + "; if you know that it is right: " + command + "certificate approve " + newest.Name
	case o.Serving.Approving:
		n.ID, n.Text, n.At = "csr-approving", what+"is this node's own and is approved", o.At
	default:
		n.ID, n.Text = "csr-pending", what+"waits for somebody to approve it (kubelet.approveServing is off)"
		n.Remedy = command + "certificate approve " + newest.Name
	}
	p.notice(n)
}

// stands says how a certificate is, in words.
func stands(c pki.Certificate, now time.Time) string {
	if c.State == pki.OK {
		return "near its end (" + pki.Span(c.Remaining(now)) + " left)"
	}
	return string(c.State)
}

// approveServing approves the newest request of this node's own kubelet, where the
// configuration wants that and nothing speaks against it.
func (n *Node) approveServing(ctx context.Context, o Observation) error {
	s := o.Serving
	if s == nil || !s.Approving || s.Error != "" || s.Refused != "" || len(s.Requests) == 0 || !s.Requests[0].pending() || o.Paused != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, servingDeadline)
	defer cancel()
	r := s.Requests[0]
	reason := "kubecertd on this node: the names and addresses are its own (" + strings.Join(sought(r), ", ") + ")"
	if err := n.SigningRequests.Approve(ctx, r.Name, reason); err != nil {
		return fmt.Errorf("the kubelet's request for a serving certificate could not be approved: %w", err)
	}
	n.Log.Info("the kubelet's request for a serving certificate is approved", event(EventApproved),
		zap.String("request", r.Name), zap.String("reason", reason))
	return nil
}
