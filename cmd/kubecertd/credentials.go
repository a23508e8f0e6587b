package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/kubecertd/kubecertd/cluster"
	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// credentials tries client certificates against the servers of this node.
type credentials struct {
	locate func() (pki.Layout, []error)
}

func (t credentials) Try(ctx context.Context, c pki.Certificate) (refused bool, err error) {
	err = t.try(ctx, c)
	return errors.As(err, new(*cluster.RefusedError)), err
}

func (t credentials) try(ctx context.Context, c pki.Certificate) error {
	layout, _ := t.locate()
	certificate, key := filepath.Join(layout.Root, c.Path), filepath.Join(layout.Root, c.KeyPath)
	authorities := filepath.Join(layout.Root, layout.CertificatesDir)
	switch {
	case c.Kind == pki.Kubeconfig && c.Renewer == pki.Kubeadm:
		return cluster.TryKubeconfig(ctx, certificate, apiServer(layout))
	case c.Name == "apiserver-kubelet-client":
		return cluster.TryKubelet(ctx, layout.Address(renew.Kubelet), certificate, key)
	case c.Name == "front-proxy-client":
		// The name is among those of every serving certificate that kubeadm makes.
		return cluster.TryFrontProxy(ctx, apiServer(layout), "kubernetes", filepath.Join(authorities, "ca.crt"), certificate, key)
	case (c.Name == "apiserver-etcd-client" || c.Name == "etcd-healthcheck-client") && layout.LocalEtcd:
		return cluster.Etcd{Endpoint: "https://" + layout.Address(renew.Etcd), Certificate: certificate, Key: key,
			CA: filepath.Join(authorities, "etcd", "ca.crt")}.Try(ctx)
	default:
		return nil // a serving certificate, which is not shown to any server
	}
}

// uses has the API server of this node use its client certificates.
type uses struct{ asking }

func (u uses) Use(ctx context.Context, certificate, node string) renew.Use {
	api := u.api(adminConf, superAdminConf)
	var said string
	var err error
	switch certificate {
	case "apiserver-kubelet-client":
		said, err = api.UseKubelet(ctx, node)
	case "apiserver-etcd-client":
		said, err = api.UseEtcd(ctx)
	case "front-proxy-client":
		said, err = api.UseAggregated(ctx)
	default:
		err = errors.New("nothing is known that needs it")
	}
	if err != nil {
		return renew.Use{Refused: errors.As(err, new(*cluster.RefusedError)), Said: err.Error()}
	}
	return renew.Use{Works: true, Said: said}
}

// heartbeats are the leases of the nodes in this node's cluster.
type heartbeats struct{ asking }

func (h heartbeats) Last(ctx context.Context, node string) (time.Time, error) {
	return h.api(adminConf, kubeletConf).Heartbeat(ctx, node)
}

// leases are the leader leases in the cluster of this node.
type leases struct{ asking }

func (l leases) Hold(ctx context.Context, component string) (func(context.Context) (bool, error), error) {
	name, err := os.Hostname() // as the components name themselves
	if err != nil {
		return nil, err
	}
	lease := &cluster.LeaderLease{Component: component, Node: name, API: l.api(adminConf, superAdminConf)}
	leads, err := lease.Hold(ctx)
	if err != nil || !leads {
		return nil, err
	}
	return lease.Release, nil
}

// apiServer is the address of the node's own API server; empty when its manifest does
// not say it, and a kubeconfig's own server is what is left.
func apiServer(layout pki.Layout) string {
	address := layout.Address(renew.APIServer)
	if host, _, err := net.SplitHostPort(address); err != nil || host == "" {
		return ""
	}
	return address
}
