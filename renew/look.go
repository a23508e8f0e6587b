package renew

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Look is one look at the node and what follows from it.
type Look struct {
	Observation Observation `json:"observation"`
	Proofs      []Proof     `json:"proofs"`
	Plan        Plan        `json:"plan"`
	// Window says that a maintenance window is open; always where there is none.
	Window bool `json:"-"`
	// Owes says that what a run that was cut off has left could not be put right yet.
	Owes bool `json:"-"`
}

// Stale names the components that are proven not to have loaded what is on disk.
func (l Look) Stale() []string {
	var names []string
	for _, p := range l.Proofs {
		if p.Verdict == Stale && !slices.Contains(names, p.Component) {
			names = append(names, p.Component)
		}
	}
	return names
}

// Look observes the node, decides, and asks the gates that files and ports cannot
// answer for. It changes nothing on the node; what was found out about the cluster is
// remembered, unless the Node is ReadOnly.
func (n *Node) Look(ctx context.Context, wish Wish) Look {
	o := n.Observe(ctx, n.Now())
	o.Failures = n.State.failures()
	n.Ask(ctx, &o)
	n.askServing(ctx, &o)
	l := Look{Observation: o, Proofs: Prove(o), Plan: Decide(o, n.Policy, wish), Window: n.Policy.Windows.Contains(o.At)}
	if l.Plan.Work() {
		n.gate(ctx, o, &l.Plan)
		n.gateNeighbours(ctx, o, &l.Plan)
	}
	return l
}

// gate asks what only matters when there is something to do.
func (n *Node) gate(ctx context.Context, o Observation, p *Plan) {
	n.alive()
	asked := n.inquire(ctx, o, *p)
	if err := n.stopping(ctx); err != nil {
		p.close("shutdown", err, "what is to be done is found again after the next start")
	}
	if p.needsKubeadm() {
		version, err := n.Kubeadm.Version(ctx)
		if err != nil {
			p.close("kubeadm", err, "kubeadm renews the certificates; without it nothing is touched")
		} else if err := n.secureConfiguration(ctx, version); err != nil {
			p.close("cluster-configuration", err,
				"kubeadm would fall back to its own defaults: make the API server reachable once, or put the cluster's ClusterConfiguration into "+n.State.path(configurationFile))
		} else if c, err := n.configuration(); err == nil {
			p.outlive(o, c)
		}
	}
	if len(p.Renew) > 0 {
		if err := n.room(o); err != nil {
			p.close("disk", err, "make room, or mount it for writing: kubeadm would leave files empty")
		}
	}
	seen := <-asked
	p.Afresh, p.Alone = seen.afresh, seen.etcd == nil && len(seen.peers) == 0
	defer n.lookTurn(ctx, o, p)
	if len(p.Restart) == 0 && p.Afresh == "" || p.Mends() {
		return
	}
	if !p.blockedBy("kubelet") && !p.blockedBy("systemd") {
		if err := n.Kubelet.Healthy(ctx); err != nil {
			p.close("kubelet", err, "no container is stopped that nobody would bring back: journalctl -u kubelet")
		}
	}
	if p.Afresh != "" {
		return // it does not count on the API server, and etcd is stopped only if nobody shares it
	}
	if !p.restarts(Etcd) && !p.restarts(APIServer) {
		if api, here := o.Component(APIServer); here && api.Running && !revives(o, *p, Etcd) {
			if err := n.healthyNow(ctx, APIServer); err != nil {
				p.close("component "+APIServer, err, "what is restarted would not start without it: crictl logs of its container")
			}
		}
		return
	}
	n.gatePeers(ctx, o, seen, p)
}

// revives says that the plan repairs what a component does not run without.
func revives(o Observation, p Plan, component string) bool {
	c, here := o.Component(component)
	return here && !c.Running && slices.ContainsFunc(p.Renew, func(r Renewal) bool { return o.holds(component, r.Certificate) })
}

// needsKubeadm says whether kubeadm has to make something. It has not where all that is
// planned is to put copies back, or to have the kubelet find what is there.
func (p Plan) needsKubeadm() bool {
	return slices.ContainsFunc(p.Renew, func(r Renewal) bool {
		return !r.Repair.keeps() && (r.Cure == "" || r.Cure == CureMake)
	})
}

// healthyNow asks a component once whether it is healthy.
func (n *Node) healthyNow(ctx context.Context, component string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := n.Health.Await(ctx, component, func(string) {}); err != nil {
		return fmt.Errorf("%s is not healthy: %w", component, err)
	}
	return nil
}

func (p *Plan) close(name string, err error, remedy string) {
	p.Blocked = append(p.Blocked, Gate{name, err.Error(), remedy})
}

// expired says whether one of these is renewed because it has run out.
func (p Plan) expired(names ...string) bool {
	return slices.ContainsFunc(p.Renew, func(r Renewal) bool { return slices.Contains(names, r.Certificate) && p.At.After(r.NotAfter) })
}

func (p Plan) restarts(component string) bool {
	return slices.ContainsFunc(p.Restart, func(r Restart) bool { return r.Component == component })
}

func (p Plan) blockedBy(gate string) bool {
	return slices.ContainsFunc(p.Blocked, func(g Gate) bool { return g.Name == gate })
}
