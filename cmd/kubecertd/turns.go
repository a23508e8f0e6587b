package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/kubecertd/kubecertd/cluster"
	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// turns is the turn among the control-plane nodes of this node's cluster, and what is
// seen of the others.
type turns struct {
	asking
	now func() time.Time
}

// member is the etcd member on this node, asked with the client certificate that kubeadm
// made for health checks.
func member(layout pki.Layout) cluster.Etcd {
	dir := filepath.Join(layout.Root, layout.CertificatesDir, "etcd")
	return cluster.Etcd{
		Endpoint:    "https://" + layout.Address(renew.Etcd),
		Certificate: filepath.Join(dir, "healthcheck-client.crt"),
		Key:         filepath.Join(dir, "healthcheck-client.key"),
		CA:          filepath.Join(dir, "ca.crt"),
	}
}

// admin is the API with the credentials that may see nodes and change a Lease.
func (t turns) admin() cluster.API { return t.api(adminConf, superAdminConf) }

func (t turns) store() cluster.Turn {
	layout, _ := t.locate()
	turn := cluster.Turn{API: t.admin()}
	if layout.LocalEtcd {
		etcd := member(layout)
		turn.Etcd = &etcd
	}
	return turn
}

func (t turns) Read(ctx context.Context) (renew.Turn, error) {
	seen, err := t.store().Read(ctx)
	if err != nil {
		return renew.Turn{}, quorum(err)
	}
	turn := renew.Turn{Held: renew.Held(seen.Held), Unknown: seen.Unknown, Notices: seen.Notices, Seen: seen}
	for _, h := range seen.Behind {
		turn.Behind = append(turn.Behind, renew.Held(h))
	}
	return turn, nil
}

func (t turns) Write(ctx context.Context, next renew.Turn) (copied, err error) {
	seen, ok := next.Seen.(cluster.TurnSeen)
	if !ok {
		return nil, errors.New("the turn was not read before it is written")
	}
	record := cluster.TurnRecord{Held: cluster.Held(next.Held)}
	for _, h := range next.Behind {
		record.Behind = append(record.Behind, cluster.Held(h))
	}
	copied, err = t.store().Write(ctx, seen, record)
	if errors.Is(err, cluster.ErrTurnChanged) {
		err = renew.ErrTurnChanged
	}
	return copied, quorum(err)
}

// quorum says it in the words of renew when there is none.
func quorum(err error) error {
	if errors.Is(err, cluster.ErrNoQuorum) {
		return fmt.Errorf("%w: %w", renew.ErrNoQuorum, err)
	}
	return err
}

func (t turns) Holder(ctx context.Context, node string) renew.HolderFacts {
	layout, _ := t.locate()
	f := renew.HolderFacts{Node: renew.PartUnknown, Member: renew.PartUnknown, API: renew.PartUnknown}
	var hosts []string
	seen, err := t.admin().SeeNode(ctx, node)
	switch {
	case err != nil:
	case !seen.There:
		f.Node = renew.PartRemoved
	case !seen.Silent.IsZero():
		f.Node, f.Silent = renew.PartUnhealthy, t.now().Sub(seen.Silent)
	default:
		f.Node = renew.PartHealthy
	}
	if layout.LocalEtcd {
		all, err := member(layout).Members(ctx)
		if err != nil {
			return f
		}
		// kubeadm calls a member what the node is called (kubeadm: phases/etcd/local.go).
		f.Member = renew.PartRemoved
		for _, m := range all.Peers {
			if m.Name == node {
				f.Member, hosts = part(m.Problem == ""), m.Hosts
			}
		}
	} else {
		f.Member, hosts = renew.PartRemoved, seen.Addresses
	}
	switch {
	case len(hosts) > 0:
		f.API = part(ready(ctx, layout, hosts) == nil)
	case f.Node == renew.PartUnknown && !layout.LocalEtcd:
		// Nobody says where it would be.
	default:
		// An API server works with the etcd beside it, which is no member any more.
		f.API = renew.PartRemoved
	}
	return f
}

func part(healthy bool) renew.PartState {
	if healthy {
		return renew.PartHealthy
	}
	return renew.PartUnhealthy
}

// ready says why the API server at these hosts, which are one node's, is not ready.
func ready(ctx context.Context, layout pki.Layout, hosts []string) error {
	_, port, err := net.SplitHostPort(layout.Address(renew.APIServer))
	if err != nil {
		return err
	}
	var failed []error
	for _, host := range hosts {
		err := try(ctx, layout, net.JoinHostPort(host, port))
		if err == nil {
			return nil
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func try(ctx context.Context, layout pki.Layout, address string) error {
	dir := filepath.Join(layout.Root, layout.CertificatesDir)
	client := filepath.Join(dir, "apiserver-kubelet-client")
	return cluster.TryReady(ctx, address, filepath.Join(dir, "ca.crt"), client+".crt", client+".key")
}

func (t turns) Unready(ctx context.Context) (map[string]string, error) {
	layout, _ := t.locate()
	ask := map[string]func() error{}
	if layout.LocalEtcd {
		all, err := member(layout).Members(ctx)
		if err != nil {
			return nil, err
		}
		for _, m := range all.Peers {
			ask[m.Name] = func() error { return ready(ctx, layout, m.Hosts) }
		}
	} else {
		addresses, err := t.admin().APIServers(ctx)
		if err != nil {
			return nil, err
		}
		own, _ := layout.Manifests[renew.APIServer].Flag("advertise-address")
		for _, address := range addresses {
			if host, _, err := net.SplitHostPort(address); err == nil && host != own {
				ask[address] = func() error { return try(ctx, layout, address) }
			}
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	unready := map[string]string{}
	for name, question := range ask {
		wg.Go(func() {
			if err := question(); err != nil {
				mu.Lock()
				unready[name] = err.Error()
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return unready, nil
}

// Index is how many members etcd had before this node's: kubeadm writes those that there
// were into its manifest (kubeadm: phases/etcd/local.go).
func (t turns) Index() int {
	layout, _ := t.locate()
	members, _ := layout.Manifests[renew.Etcd].Flag("initial-cluster")
	return strings.Count(members, ",")
}
