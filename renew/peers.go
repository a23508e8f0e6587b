package renew

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubecertd/kubecertd/pki"
)

// otherServers are the API servers of the other control-plane nodes.
type otherServers interface {
	// Unready says which of them are not ready, and why.
	Unready(ctx context.Context) (map[string]string, error)
}

// gatePeers closes the gates of those on whom a restart of etcd or kube-apiserver leaves
// the work.
func (n *Node) gatePeers(ctx context.Context, o Observation, seen inquiry, p *Plan) {
	switch {
	case seen.etcd != nil && p.blinded(o):
		// It cannot be asked because of what is to be renewed.
	case seen.etcd != nil:
		p.close("etcd", seen.etcd, "etcd must be healthy before it is restarted: crictl logs of the etcd container")
	case len(seen.unhealthy) > 0:
		p.close("etcd", fmt.Errorf("other members of this cluster's etcd are not healthy: %s", each(seen.unhealthy)),
			"stopping this one could cost the quorum: repair the other members first")
	case len(seen.peers) == 1 && p.restarts(Etcd) && n.RefuseTwo && p.Urgent == "":
		p.close("two-members", errors.New("this etcd has two members, and while one restarts there is no quorum and no API (turn.twoMembers is refuse)"),
			"add a third member, or accept an outage of seconds (turn.twoMembers: accept); it is done all the same when a certificate becomes critical")
	case len(seen.peers) == 1 && p.restarts(Etcd):
		p.notice(Notice{ID: "two-members", Severity: Warning,
			Text:   "this etcd has two members: while one restarts, for some seconds, there is no quorum and no API on either node",
			Remedy: "add a third member; or turn.twoMembers: refuse, and it is done only when a certificate becomes critical"})
	}
	if seen.etcd != nil || len(seen.peers) == 0 {
		return
	}
	if why := n.unready(ctx, *p); why != nil {
		p.close("apiserver", why, "while this node's restarts, another has to be there: repair it first")
	}
}

// blinded says that etcd cannot be asked because of what the plan is to put right.
func (p Plan) blinded(o Observation) bool {
	return slices.ContainsFunc(p.Renew, func(r Renewal) bool {
		c, _ := o.Certificate(r.Certificate)
		return slices.Contains(etcdCertificates, r.Certificate) && c.State != pki.OK && c.State != pki.External
	})
}

// unready says which API servers of other nodes are not ready. When it is urgent that is
// no reason to wait: theirs being away costs no quorum.
func (n *Node) unready(ctx context.Context, p Plan) error {
	if n.Servers == nil || p.Urgent != "" {
		return nil
	}
	unready, err := n.Servers.Unready(ctx)
	if err != nil {
		return fmt.Errorf("whether the API servers of the other nodes are ready cannot be told: %w", err)
	}
	if len(unready) > 0 {
		return fmt.Errorf("API servers of other nodes are not ready: %s", each(unready))
	}
	return nil
}

// othersHealthy asks again before something is stopped on which the others rely.
func (r *run) othersHealthy(ctx context.Context, names []string) error {
	etcd := slices.Contains(names, Etcd)
	if r.plan.Alone || (!etcd && !slices.Contains(names, APIServer)) {
		return nil
	}
	if etcd {
		// They may not have been asked because of what is new now.
		_, unhealthy, err := r.Etcd.Peers(ctx)
		if len(unhealthy) > 0 || err != nil && !r.plan.expired(etcdCertificates...) {
			return fmt.Errorf("etcd not stopped: the other members must be healthy: %v %w", unhealthy, err)
		}
	}
	if err := r.unready(ctx, r.plan); err != nil {
		return fmt.Errorf("%s not stopped: %w", names[0], err)
	}
	return nil
}

// each names what is wrong with each.
func each(wrong map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		all = append(all, name+" ("+wrong[name]+")")
	}
	return strings.Join(all, ", ")
}
