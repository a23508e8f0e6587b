package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kubecertd/kubecertd/cluster"
	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// signing are the requests of this node's kubelet for what it serves.
type signing struct {
	locate func() (pki.Layout, []error)

	mu     sync.Mutex
	listed map[string]cluster.Request
}

func (s *signing) List(ctx context.Context, node string) ([]renew.SigningRequest, error) {
	layout, _ := s.locate()
	list, err := cluster.API{Kubeconfigs: []string{
		filepath.Join(layout.Root, layout.KubernetesDir, "admin.conf"),
		filepath.Join(layout.Root, layout.KubeletKubeconfig),
	}, Address: apiServer(layout)}.ServingRequests(ctx, node)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed = map[string]cluster.Request{}
	found := make([]renew.SigningRequest, 0, len(list))
	for _, r := range list {
		s.listed[r.Name] = r
		found = append(found, renew.SigningRequest{Name: r.Name, Created: r.Created, Username: r.Username, Groups: r.Groups, Usages: r.Usages,
			PEM: r.PEM, Approved: r.Approved, Denied: r.Denied, Failed: r.Failed, Said: r.Said, Issued: r.Issued})
	}
	return found, nil
}

func (s *signing) Approve(ctx context.Context, name, reason string) error {
	layout, _ := s.locate()
	s.mu.Lock()
	r, ok := s.listed[name]
	s.mu.Unlock()
	if !ok {
		return fmt.Errorf("request %s is not among those last listed", name)
	}
	return cluster.API{Kubeconfigs: []string{filepath.Join(layout.Root, layout.KubernetesDir, "admin.conf")}, Address: apiServer(layout)}.
		Approve(ctx, r, reason, time.Now())
}

// identity is what this host is called and where it is reached.
func identity() (renew.Identity, error) {
	name, err := os.Hostname()
	if err != nil {
		return renew.Identity{}, err
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return renew.Identity{}, err
	}
	own := renew.Identity{Names: []string{name}}
	for _, a := range addresses {
		if network, ok := a.(*net.IPNet); ok {
			own.Addresses = append(own.Addresses, network.IP)
		}
	}
	return own, nil
}
