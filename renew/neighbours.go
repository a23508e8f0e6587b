package renew

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// neighbours knows the cluster's control-plane nodes, and who else takes nodes down.
type neighbours interface {
	// Neighbours is what could be seen, also with an error.
	Neighbours(ctx context.Context) (Neighbours, error)
	// Mark says on a node, for others to see, that we are at work on it; an empty text
	// takes that away.
	Mark(ctx context.Context, node, text string) error
}

// Neighbours are the control-plane nodes of the cluster, this one among them, and what
// else takes nodes down.
type Neighbours struct {
	Nodes []Neighbour
	// Kured are the nodes that hold kured's lock, KuredNonsense why it cannot be read.
	Kured         []KuredHold
	KuredNonsense string
	// KuredSet is the DaemonSet with the lock, as NAMESPACE/NAME.
	KuredSet string
}

// Neighbour is a control-plane node as the API server knows it.
type Neighbour struct {
	Name     string
	Cordoned bool
	Since    time.Time // zero when not known
	// Rebooting is what kured says of a node that it is about to reboot; empty when it
	// says nothing.
	Rebooting string
	// Versions are what the static pods of the node run, by component.
	Versions map[string]string
}

// KuredHold is a node's hold on kured's lock.
type KuredHold struct {
	Node    string
	Created time.Time
	TTL     time.Duration // 0 for a lock that does not end by itself
}

// The gates of who else takes nodes down.
const (
	gateKured   = "kured"
	gateCordon  = "cordon"
	gateUpgrade = "upgrade"
)

// gates are the conditions that follow from the neighbours. It is a pure function; self
// is this node's name. Nodes that only run workloads are not looked at: no quorum
// depends on them, and kured may be at work on a hundred of them for days.
func (n Neighbours) gates(self string, now time.Time) []Gate {
	return slices.Concat(n.kured(now), n.cordoned(self), n.upgrading())
}

// kured waits for reboots of control-plane nodes, this one's own among them: a run in the
// middle of which the machine goes down is no better than two nodes that are away.
func (n Neighbours) kured(now time.Time) (closed []Gate) {
	var who []string
	for _, hold := range n.Kured {
		if hold.TTL > 0 && !now.Before(hold.Created.Add(hold.TTL)) {
			continue
		}
		// Where the nodes could not be listed, it may be any.
		if len(n.Nodes) == 0 || n.has(hold.Node) {
			who = append(who, fmt.Sprintf("%s has held its lock since %s", hold.Node, hold.Created.UTC().Format(pki.TimeLayout)))
		}
	}
	for _, node := range n.Nodes {
		if node.Rebooting != "" {
			who = append(who, fmt.Sprintf("%s is about to be rebooted (%s)", node.Name, node.Rebooting))
		}
	}
	namespace, name, _ := strings.Cut(n.KuredSet, "/")
	unlock := fmt.Sprintf("kubectl -n %s annotate daemonset %s weave.works/kured-node-lock-", namespace, name)
	switch {
	case len(who) > 0:
		closed = append(closed, Gate{gateKured, "kured reboots control-plane nodes: " + strings.Join(who, ", "),
			"it is waited for; should the node never come back: kubectl annotate node NODE weave.works/kured-reboot-in-progress-; " + unlock})
	case n.KuredNonsense != "":
		closed = append(closed, Gate{gateKured, "whether kured reboots a node cannot be told: " + n.KuredNonsense, "kured cannot read it either: " + unlock})
	}
	return closed
}

func (n Neighbours) has(name string) bool {
	return slices.ContainsFunc(n.Nodes, func(node Neighbour) bool { return node.Name == name })
}

// cordoned waits for maintenance of another control-plane node. This node's own is no
// reason: that new pods are kept away from it says nothing of its static pods, it may
// last for weeks, and what would be dangerous is seen where it happens, a shutdown and a
// kubeadm at work by gates of their own. Where all are cordoned it is how the cluster is
// run, to keep workloads away, and not maintenance, which is done node by node.
func (n Neighbours) cordoned(self string) (closed []Gate) {
	var who []string
	all := true
	for _, node := range n.Nodes {
		all = all && node.Cordoned
		if !node.Cordoned || node.Name == self {
			continue
		}
		text := node.Name
		if !node.Since.IsZero() {
			text += " since " + node.Since.UTC().Format(pki.TimeLayout)
		}
		who = append(who, text)
	}
	if all || len(who) == 0 {
		return nil
	}
	return append(closed, Gate{gateCordon, "other control-plane nodes are cordoned: " + strings.Join(who, ", "),
		"their maintenance is waited for; when it is over: kubectl uncordon NODE"})
}

// upgrading waits for a `kubeadm upgrade` of the cluster: it goes from node to node, and
// in the meantime they run different versions.
func (n Neighbours) upgrading() (closed []Gate) {
	var mixed []string
	for _, component := range Order {
		on := map[string][]string{} // nodes by version
		for _, node := range n.Nodes {
			if version := node.Versions[component]; version != "" {
				on[version] = append(on[version], node.Name)
			}
		}
		if len(on) < 2 {
			continue
		}
		var versions []string
		for _, version := range slices.Sorted(maps.Keys(on)) {
			versions = append(versions, fmt.Sprintf("%s on %s", version, strings.Join(on[version], " and ")))
		}
		mixed = append(mixed, component+" is "+strings.Join(versions, ", "))
	}
	if len(mixed) == 0 {
		return nil
	}
	return append(closed, Gate{gateUpgrade, "control-plane nodes run different versions: " + strings.Join(mixed, "; "),
		"an upgrade of the cluster is waited for: kubeadm upgrade node, on those that are behind"})
}

// gateNeighbours closes the gates of who else takes nodes down. Nobody is waited for when
// the API server cannot be asked, because no renewal may depend on it, nor for what is
// urgent. With other gates closed already nobody is asked.
func (n *Node) gateNeighbours(ctx context.Context, o Observation, p *Plan) {
	if n.Neighbours == nil || !o.ControlPlane || len(p.Restart) == 0 || len(p.Blocked) > 0 || p.Mends() || p.Afresh != "" {
		return
	}
	seen, err := n.Neighbours.Neighbours(ctx)
	n.alive()
	if err != nil {
		p.notice(Notice{ID: "neighbours-unknown", Severity: Info, Text: fmt.Sprintf(
			"who else takes nodes of this cluster down could not be asked, and is not waited for: %s", oneLine(err))})
	}
	gates := seen.gates(o.node(), o.At)
	if p.Urgent == "" {
		p.Blocked = append(p.Blocked, gates...)
		return
	}
	for _, g := range gates {
		p.notice(Notice{ID: "neighbours-passed", Severity: Warning, Remedy: g.Remedy,
			Text: fmt.Sprintf("%s; it is not waited for: %s", g.Reason, p.Urgent)})
	}
}

// oneLine is an error that was joined of several, in one line.
func oneLine(err error) error { return errors.New(strings.ReplaceAll(err.Error(), "\n", "; ")) }
