package renew

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Where certificates have run out, what holds them has crashed until the kubelet lets it
// wait for minutes, and what has not crashed answers nobody. Nothing of this is worth the
// care with which what works is restarted, and that care would take long: so the control
// plane of this node is started afresh. What is healthy is never touched by it, and an
// etcd that has other members is not stopped by it at all.

// etcdCertificates are those without which nobody can ask etcd.
var etcdCertificates = []string{"etcd-server", "etcd-peer", "etcd-healthcheck-client"}

// ranOut are the certificates of the plan that have run out, or are not there, and without
// which the API server of this node cannot work.
func ranOut(o Observation, p Plan) []string {
	var out []string
	for _, r := range p.Renew {
		if !r.NotAfter.After(p.At) && (o.holds(APIServer, r.Certificate) || o.holds(Etcd, r.Certificate)) {
			out = append(out, r.Certificate)
		}
	}
	return out
}

// afresh says why the control plane of this node is to be started afresh; empty when it
// is not. api is what is wrong with its API server: one that answers is protected, and
// all that it needs with it. etcd is why etcd cannot be asked; when it can, peers are its
// other members.
func afresh(o Observation, p Plan, policy Policy, api, etcd error, peers []string) string {
	out := ranOut(o, p)
	kubelet, _ := o.Component(Kubelet)
	if len(out) == 0 || api == nil || !kubelet.Running || policy.Restart.For(Kubelet) == RestartNever {
		return ""
	}
	why := fmt.Sprintf("%s cannot be used, and %s", strings.Join(out, ", "), api)
	switch {
	case etcd != nil:
		return why + "; nor can etcd be asked: there is nothing left here to protect"
	case len(peers) == 0:
		return why + "; nobody else needs the etcd of this node: there is nothing left to protect"
	default:
		return why + "; etcd has other members and is left running, beside it there is nothing left here to protect"
	}
}

// inquiry is what the plan needs to know of etcd and the API server: the members of etcd
// that cannot be relied on, why it cannot be asked, and whether all is started afresh.
type inquiry struct {
	peers     []string
	unhealthy map[string]string
	etcd      error
	afresh    string
}

// inquire asks etcd who shares it, and the API server of a node whose certificates have run
// out whether it works. Both may let it wait, so that it is begun while other things are
// asked.
func (n *Node) inquire(ctx context.Context, o Observation, p Plan) <-chan inquiry {
	answer := make(chan inquiry, 1)
	out := len(ranOut(o, p)) > 0
	if !o.ControlPlane || !p.certificates() {
		answer <- inquiry{peers: []string{"not asked for"}}
		return answer
	}
	go func() {
		var i inquiry
		asked := make(chan error, 1)
		go func() {
			if !out {
				asked <- nil
				return
			}
			asked <- n.healthyNow(ctx, APIServer)
		}()
		if p.expired("etcd-server", "etcd-healthcheck-client") {
			i.etcd = errors.New("the certificates to ask it with have run out")
		} else {
			i.peers, i.unhealthy, i.etcd = n.Etcd.Peers(ctx)
		}
		i.afresh = afresh(o, p, n.Policy, <-asked, i.etcd, i.peers)
		answer <- i
	}()
	return answer
}

// quorumPatience is how long a node that is repaired waits for others to be repaired too,
// when its etcd has no quorum without them.
var quorumPatience = 2 * time.Minute

// stepAfresh is what it is called in the record.
const stepAfresh = "start afresh"

// startAfresh brings a control plane back of which nothing works, with the certificates
// that are new now. It returns what it has started, and what of restarts is left.
//
// The kubelet is restarted for it, which makes it forget how long it meant to let each
// component wait. One that has just started asks the API server for the mirror of each
// static pod before it does anything else with it, and one that takes the question and
// does not answer, because etcd is gone, holds it for 34 s at a time (kubelet:
// kubelet.go, tryReconcileMirrorPods). So no such API server may be left then: the one
// here is stopped first, and those of other nodes have their etcd back, because it is
// waited for. An etcd that runs has taken up what is new by itself; where others share
// it, its restart is left to a later run, which sees that they are healthy.
func (r *run) startAfresh(ctx context.Context, o Observation, restarts []string) (started, left []string, err error) {
	if r.plan.Afresh == "" || usable(o, APIServer) != nil || usable(o, Etcd) != nil {
		return nil, restarts, nil
	}
	if r.healthyNow(ctx, APIServer) == nil {
		// With what is new etcd can be asked again. If it has to be restarted, and nobody
		// shares it, the API server that has just come up would only hang without it.
		peers, _, err := r.Etcd.Peers(ctx)
		r.plan.Alone = err == nil && len(peers) == 0
		if !r.plan.Alone || !slices.Contains(restarts, Etcd) {
			r.log.Info("the API server has become healthy by itself: nothing is started afresh")
			r.plan.Afresh = ""
			return nil, restarts, nil
		}
	}
	if err := r.kubeletCanStart(); err != nil {
		return nil, nil, err
	}
	if err := r.confirmTurn(ctx); err != nil {
		return nil, nil, err
	}
	if err := r.begin(stepAfresh, r.plan.Afresh); err != nil {
		return nil, nil, fmt.Errorf("nothing is stopped: %w", err)
	}
	defer func() { err = errors.Join(err, r.end(stepAfresh, "", "", err)) }()
	r.log.Warn("starting the control plane afresh", event(EventAfresh), zap.String("reason", r.plan.Afresh))
	if started, err = r.startInOrder(ctx, slices.Contains(restarts, Etcd)); err != nil {
		return started, nil, err
	}
	o = r.observe(ctx, r.Now())
	proofs := Prove(o)
	left = slices.DeleteFunc(slices.Clone(restarts), func(name string) bool {
		return slices.Contains(started, name) || name == Etcd || needed(o, proofs, name, r.Policy) == ""
	})
	return started, left, nil
}

// startInOrder starts etcd, then what needs it, and waits until each is healthy. An etcd that
// is to be restarted, and that nobody shares, goes down with the rest.
func (r *run) startInOrder(ctx context.Context, etcdToo bool) (started []string, err error) {
	back := func(name string, err error) error {
		if err == nil {
			started = append(started, name)
		}
		return errors.Join(err, r.end("restart "+name, "afresh", "", err))
	}
	layout, _ := r.Locate()
	etcdToo = etcdToo && layout.LocalEtcd
	if layout.LocalEtcd {
		// With what is new it can be asked again, if it runs.
		peers, _, err := r.Etcd.Peers(ctx)
		r.plan.Alone = err == nil && len(peers) == 0
		etcdToo = etcdToo && r.plan.Alone
		etcd, _ := r.find(ctx, Etcd)
		if etcdToo || !etcd.Running {
			if err := r.anew(ctx, etcdToo); err != nil {
				return nil, err
			}
		}
		if err := r.awaitQuorum(ctx); err != nil {
			return nil, err
		}
		if etcdToo || !etcd.Running {
			if err := back(Etcd, nil); err != nil {
				return started, err
			}
		}
	}
	if !etcdToo {
		if err := r.takePlace(ctx); err != nil {
			return started, err
		}
		if err := r.anew(ctx, false); err != nil {
			return started, err
		}
	}
	for _, name := range []string{APIServer, ControllerManager, Scheduler} {
		if err := back(name, r.awaitHealthy(ctx, name)); err != nil {
			return started, err
		}
	}
	return started, nil
}

// takePlace lets the nodes go first that come before this one: the quorum has come back for
// all of them in the same moment.
func (r *run) takePlace(ctx context.Context) error {
	if r.Turns == nil || r.plan.Alone {
		return nil
	}
	return r.sit(ctx, apartAfresh*time.Duration(r.Turns.Index()))
}

// anew stops what still runs with what has run out, the API server first among those that
// it could harm, and restarts the kubelet, which starts all that does not run.
func (r *run) anew(ctx context.Context, etcd bool) error {
	o := r.observe(ctx, r.Now())
	if why := o.problem(problemContainers); why != "" {
		return fmt.Errorf("nothing is stopped: %s", why)
	}
	proofs := Prove(o)
	for _, name := range []string{APIServer, Etcd, ControllerManager, Scheduler} {
		c, _ := o.Component(name)
		// What has started since has read what is new; but an API server whose etcd is stopped
		// would only keep that from leaving, and be of no use without it.
		older := slices.ContainsFunc(proofs, func(p Proof) bool { return p.Component == name && p.Older })
		if !c.Running || !older && (name != APIServer || !etcd) || usable(o, name) != nil || name == Etcd && !etcd || r.Policy.Restart.For(name) == RestartNever {
			continue
		}
		if err := r.stop(ctx, c); err != nil {
			return err
		}
	}
	return r.renewKubelet(ctx, "it would let what has crashed wait")
}

// awaitQuorum waits until etcd is healthy. That takes a quorum: where other nodes have the
// same trouble it comes when they are repaired, too.
func (r *run) awaitQuorum(ctx context.Context) error {
	patience := r.Restarts.Healthy
	if !r.plan.Alone {
		patience = max(patience, quorumPatience)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := r.Health.Await(ctx, Etcd, r.progress(Etcd)); err != nil {
		return fmt.Errorf("the certificates of this node are renewed, and %w: if it has no leader, its other members must be repaired, each on its own node, and the rest follows by itself", err)
	}
	return nil
}
