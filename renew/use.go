package renew

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// uses has the API server of this node do what it needs its client certificates for.
type uses interface {
	// Use has it done once. node is the node's name.
	Use(ctx context.Context, certificate, node string) Use
}

// Use is whether a client certificate of the API server does its work. Which one that
// is, the new or the one before, cannot be seen.
type Use struct {
	// Works says that it does, Refused that the server at the other end turned it away.
	// Neither says that it could not be told.
	Works   bool `json:"works"`
	Refused bool `json:"refused,omitempty"`
	// Said is what was done and how it went, in words.
	Said string    `json:"said"`
	At   time.Time `json:"at"`
}

// How often the server at the other end judges a client certificate: a kubelet and an
// aggregated API do for every request (apiserver: authentication/request/x509/x509.go),
// etcd only when a connection is made.
const (
	perRequest    = "request"
	perConnection = "connection"
)

const (
	// useDeadline bounds all that is asked.
	useDeadline = 4 * time.Second
	// useAgain is when what could not be told is asked again. What works is not, until
	// another process or another file is there.
	useAgain = time.Hour
)

// Ask has the API server use the client certificates of which nothing else is proof.
// Each use costs it a request or two, so that only what is unknown is asked, and once for
// each process and file. It is not to be called by two at a time.
func (n *Node) Ask(ctx context.Context, o *Observation) {
	if n.Uses == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, useDeadline)
	defer cancel()
	if n.used == nil {
		n.used = map[string]Use{}
	}
	proofs := Prove(*o)
	api, _ := o.Component(APIServer)
	o.Uses = map[string]Use{}
	key := func(name string) string {
		certificate, _ := o.Certificate(name)
		return api.ID + " " + certificate.SHA256
	}
	var ask []string
	for _, h := range o.holdings() {
		if p := proofOf(proofs, h); h.Used == "" || p.Verdict != Unknown || !p.Older {
			continue
		}
		known, ok := n.used[key(h.Certificate)]
		if ok && !known.Refused && (known.Works || o.At.Sub(known.At) < useAgain) {
			o.Uses[h.Certificate] = known
			continue
		}
		ask = append(ask, h.Certificate)
	}
	found := make([]Use, len(ask))
	var wg sync.WaitGroup
	for i, name := range ask {
		wg.Go(func() { found[i] = n.Uses.Use(ctx, name, o.node()) })
	}
	wg.Wait()
	for i, name := range ask {
		found[i].At = o.At
		o.Uses[name], n.used[key(name)] = found[i], found[i]
	}
}

func proofOf(proofs []Proof, h Holding) Proof {
	for _, p := range proofs {
		if p.Component == h.Component && p.Certificate == h.Certificate {
			return p
		}
	}
	return Proof{}
}

// node is this node's name, as its kubelet is called.
func (o Observation) node() string {
	c, _ := o.Certificate("kubelet-client")
	if c.Leaf == nil {
		return ""
	}
	name, _ := strings.CutPrefix(c.Leaf.Subject.CommonName, "system:node:")
	return name
}

// weigh adds what the use of a certificate says about whether it is loaded.
func (p *Proof) weigh(o Observation, h Holding, certificate pki.Certificate, component Component) {
	use, asked := o.Uses[h.Certificate]
	if !asked || h.Used == "" || p.Verdict != Unknown || !p.Older {
		return
	}
	switch {
	case use.Refused:
		p.Verdict = Stale
		p.Evidence += "; and what it has loaded is refused: " + use.Said
	case use.Works && h.Used == perRequest && o.outlived(certificate, component):
		p.Verdict = Loaded
		p.Evidence += "; it works, and every certificate before this one has run out: " + use.Said
	case use.Works && h.Used == perConnection:
		p.Evidence += "; it works, perhaps on a connection made with the one before: " + use.Said
	case use.Works:
		p.Evidence += "; it works, with this one or the one before: " + use.Said
	default:
		p.Evidence += "; whether it works could not be told: " + use.Said
	}
}

// outlived says whether everything that a process can have read before what is on disk
// now has run out.
func (o Observation) outlived(c pki.Certificate, component Component) bool {
	known := o.Contents[c.Name]
	if len(known) < 2 || known[len(known)-1].SHA256 != c.SHA256 || component.Started.Before(known[0].Since) {
		return false
	}
	for _, before := range known[:len(known)-1] {
		if before.SHA256 != c.SHA256 && (before.NotAfter.IsZero() || !before.NotAfter.Before(o.At)) {
			return false
		}
	}
	return true
}
