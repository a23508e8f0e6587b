package renew

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Repair is how a damaged certificate becomes usable again. kubeadm renews only what it
// can read (kubeadm: phases/certs/renewal/manager.go), and fails on what it cannot.
type Repair struct {
	// Snapshot is the one whose copy is put back; empty where a certificate is made anew,
	// as `kubeadm init` made it.
	Snapshot string `json:"snapshot,omitempty"`
	// Renew says that what was put back is renewed at once: it has run out, or is due.
	// Subject and names, and the server of a kubeconfig, are then those that it had.
	Renew bool `json:"renew,omitempty"`
}

// Spare is a copy that a snapshot has of a damaged certificate, judged as if it lay in
// its place now.
type Spare struct {
	Snapshot    string
	Certificate pki.Certificate
}

// damaged says that a certificate is missing, or cannot be used, in a way that no renewal
// cures. One that is only not yet valid is about the clock.
func damaged(c pki.Certificate, now time.Time) bool {
	switch {
	case c.Watched:
		return false
	case c.Kind == pki.CA:
		return c.Leaf == nil && (c.State == pki.Missing || c.State == pki.Invalid)
	case c.Renewer != pki.Kubeadm:
		return false
	case c.State == pki.Missing:
		return !c.Optional
	case c.State != pki.Invalid:
		return false
	case c.Leaf == nil:
		return true
	case c.KeyMatches: // and so not signed by its CA
		return !now.Before(c.NotBefore)
	default:
		return !c.CAKeyHere || c.KeyPath == ""
	}
}

// adminConf is the kubeconfig that people take off the node on purpose.
const adminConf = "admin.conf"

// mend decides how a damaged certificate is repaired, and gives the reason in any case;
// nil when it is not damaged, or not repaired here. The newest copy that could be used as
// it is comes first; then the newest that only has run out, which is renewed; then a new
// one, made by kubeadm.
func mend(o Observation, policy Policy, wish Wish, c pki.Certificate, d Decision) (Decision, *Repair) {
	if !damaged(c, o.At) {
		return d, nil
	}
	not := func(why string) (Decision, *Repair) {
		d.Reason = c.Reason + "; " + why
		return d, nil
	}
	asked := slices.Contains(wish.Names, c.Name)
	if c.Name == adminConf && c.State == pki.Missing && !asked {
		return not("it is not made by itself, because people take it away on purpose: kubecertd renew " + adminConf)
	}
	ca, _ := o.Certificate(c.CA)
	switch {
	case c.CA == "":
	case ca.Leaf == nil:
		return not(fmt.Sprintf("its CA %s is %s itself, and comes first", ca.Name, ca.State))
	case ca.State == pki.Expired:
		return not(fmt.Sprintf("its CA %s has expired: replace the CA", ca.Name))
	}
	repair := spare(o, policy, c, ca)
	if repair == nil {
		if why := notMade(o, c, ca); why != "" {
			return not("no snapshot has a good copy of it, and " + why)
		}
		repair = &Repair{}
	}
	if repair.Snapshot != "" && asked && ca.CAKeyHere {
		repair.Renew = true // who asks for a certificate is given a new one
	}
	if until, why := o.held(policy.Retry, "renew "+c.Name, 0); why != "" && !asked && !wish.All {
		d.At = until
		return not("its repair " + why)
	}
	d.Renew, d.At = true, o.At
	d.Reason = c.Reason + "; " + repair.String()
	return d, repair
}

// String says what is done.
func (r Repair) String() string {
	switch {
	case r.Snapshot == "":
		return "made anew by kubeadm: no snapshot has a good copy of it"
	case r.Renew:
		return "restored from snapshot " + r.Snapshot + ", and renewed"
	default:
		return "restored from snapshot " + r.Snapshot
	}
}

// keeps says that the certificate is what it was, not a new one.
func (r *Repair) keeps() bool { return r != nil && r.Snapshot != "" && !r.Renew }

// spare is the repair by a copy; nil where no snapshot has one that helps.
func spare(o Observation, policy Policy, c, ca pki.Certificate) *Repair {
	var worn *Repair
	for _, s := range o.Spares[c.Name] {
		k := s.Certificate
		if k.State != pki.OK && k.State != pki.External && k.State != pki.Expired {
			continue
		}
		switch state := policy.Decide(k, o.At).State; {
		case c.Kind == pki.CA:
			if k.State != pki.Expired && vouched(o, k) {
				return &Repair{Snapshot: s.Snapshot}
			}
		case state == pki.OK || state == pki.External:
			return &Repair{Snapshot: s.Snapshot}
		case worn == nil && (ca.CAKeyHere || state == pki.Due):
			worn = &Repair{Snapshot: s.Snapshot, Renew: ca.CAKeyHere}
		}
	}
	return worn
}

// vouched says whether there is evidence that a copy of a CA is of the CA that this node
// has now: its key belongs to it, or what it has signed is here, and nothing of another.
func vouched(o Observation, ca pki.Certificate) bool {
	signed := 0
	for _, c := range o.Certificates {
		if c.CA != ca.Name || c.Leaf == nil || c.Watched {
			continue
		}
		if c.Leaf.CheckSignatureFrom(ca.Leaf) != nil {
			return ca.KeyMatches
		}
		signed++
	}
	return ca.KeyMatches || signed > 0
}

// notMade says why kubeadm cannot make a certificate anew here; empty when it can.
func notMade(o Observation, c, ca pki.Certificate) string {
	switch {
	case c.Kind == pki.CA:
		return "a CA is never made anew here: put it back from a backup, or from another control-plane node"
	case ca.State == pki.External:
		return fmt.Sprintf("the key of its CA %s is not on this node: make it where the CA is kept", ca.Name)
	case !ca.CAKeyHere:
		return fmt.Sprintf("its CA %s cannot sign here: %s; the keys of CAs are in no snapshot: put it back from a backup, or from another control-plane node", ca.Name, ca.Reason)
	case c.Leaf != nil && c.KeyMatches && !slices.ContainsFunc(o.Certificates, func(other pki.Certificate) bool {
		return other.CA == c.CA && other.Leaf != nil && other.Leaf.CheckSignatureFrom(ca.Leaf) == nil
	}):
		return fmt.Sprintf("nothing on this node is signed by %s: it cannot be told which of the two is the wrong one", cmp.Or(ca.Path, ca.Name))
	default:
		return ""
	}
}

// observeSpares reads what the snapshots have of the certificates that are damaged, the
// newest first.
func (n *Node) observeSpares(o *Observation) {
	var names []string
	for _, c := range o.Certificates {
		if damaged(c, o.At) {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return
	}
	layout, _ := n.Locate()
	o.Spares = map[string][]Spare{}
	for _, id := range slices.Backward(n.State.snapshotIDs()) {
		snap, err := n.State.manifest(id)
		if err != nil {
			continue // what is wrong with it is said by kubecertd backup list
		}
		copies := Observation{Certificates: layout.ReadCopies(snap.dir, o.At)}
		for _, name := range names {
			if c, here := copies.Certificate(name); here && c.State != pki.Missing && snap.has(name) {
				o.Spares[name] = append(o.Spares[name], Spare{id, c})
			}
		}
	}
}
