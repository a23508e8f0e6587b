package renew

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Spread makes certificates due a little earlier, on each node by as much as always, so
// that a fleet whose certificates were made in the same hour is not at work in the same
// second a year later. The zero value changes nothing.
type Spread struct {
	// Cluster and Node are shares, from 0 to below 1, of the most that certificates of a
	// cluster, and of a node in it, are due earlier.
	Cluster, Node float64
}

const (
	// roomShare of the time between two renewals, or between one and the end if that is
	// shorter, is the most by which a certificate is due earlier.
	roomShare = 20
	// clusterRoom and nodeRoom are the most, however long a certificate lives. Clusters
	// have a day between them; the nodes of one, who wait for each other, are to be done
	// within minutes.
	clusterRoom = 24 * time.Hour
	nodeRoom    = 10 * time.Minute
)

// NewSpread is the spread of a node: cluster is what its cluster has that no other has,
// node what the node has that no other of the cluster has.
func NewSpread(cluster, node string) Spread {
	return Spread{Cluster: shareOf(cluster), Node: shareOf(cluster + "\x00" + node)}
}

// shareOf is a number from 0 to below 1, always the same for the same text.
func shareOf(text string) float64 {
	h := fnv.New64a()
	h.Write([]byte(text))
	// The last bytes hardly reach the upper bits of FNV, and names differ in the last.
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return float64((x^x>>33)>>11) / (1 << 53)
}

// earlier is by how much a certificate with this lifetime is due earlier than the
// threshold before its end. All of a node with equal lifetimes are so by the same.
func (s Spread) earlier(before, lifetime time.Duration) time.Duration {
	room := room(before, lifetime)
	return time.Duration(s.Cluster*float64(min(room, clusterRoom)) + s.Node*float64(min(room, nodeRoom)))
}

// room is what a certificate may be due earlier: little of the time that it is left
// alone, and little of what is left of it then.
func room(before, lifetime time.Duration) time.Duration {
	return max(min(before, lifetime-before)/roomShare, 0)
}

// ahead is how long before its end a certificate is due on this node, and a remark where
// that is not simply the threshold.
func (p Policy) ahead(c pki.Certificate) (time.Duration, string) {
	before, note := p.before(c)
	earlier := p.Spread.earlier(before, lifetime(c))
	if earlier >= time.Minute {
		note += fmt.Sprintf(" (%s earlier than the threshold says: nodes are spread)", pki.Span(earlier))
	}
	return before + earlier, note
}

// alongWith is a certificate that is renewed now; empty when there is none.
func alongWith(o Observation, policy Policy) string {
	for _, c := range o.Certificates {
		if c.Renewer != pki.Kubeadm || c.Watched {
			continue
		}
		if d := policy.Decide(c, o.At); d.Renew && restrained(o, policy, c, d).Renew {
			return c.Name
		}
	}
	return ""
}

// along renews a certificate with another that is due, when it would be so itself soon
// after. kubeadm makes a node's certificates one after the other, so that they end some
// seconds apart, and each run of its own would restart everything anew.
func (p Policy) along(c pki.Certificate, d Decision, with string, now time.Time) Decision {
	before, _ := p.before(c)
	soon := d.At.Sub(now)
	if with == "" || d.Renew || d.State != pki.OK || c.Renewer != pki.Kubeadm || !c.CAKeyHere || d.At.IsZero() ||
		soon > min(room(before, lifetime(c)), clusterRoom) {
		return d
	}
	d.State, d.Renew = pki.Due, true
	d.Reason += "; renewed along with " + with
	return d
}
