//go:build linux

package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	healthTimeout = 2 * time.Minute
	probeTimeout  = 3 * time.Second
)

// healthEndpoints are the ones that kubeadm's own probes use, as seen from
// the node.
var healthEndpoints = []struct{ component, url string }{
	{"etcd", "http://127.0.0.1:2381/readyz"},
	{"kube-apiserver", "https://127.0.0.1:6443/readyz"},
	{"kube-controller-manager", "https://127.0.0.1:10257/healthz"},
	{"kube-scheduler", "https://127.0.0.1:10259/healthz"},
	{"kubelet", "http://127.0.0.1:10248/healthz"},
}

// WaitHealthy returns when every component of every node answers that it is
// healthy, at most two minutes later.
func (c *Cluster) WaitHealthy(ctx context.Context) error {
	var waiting sync.WaitGroup
	problems := make([]error, len(c.Nodes))
	for i, n := range c.Nodes {
		waiting.Go(func() { problems[i] = n.WaitHealthy(ctx) })
	}
	waiting.Wait()
	return errors.Join(problems...)
}

// WaitHealthy returns when every component of the node answers that it is
// healthy, at most two minutes later.
func (n *Node) WaitHealthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := n.Healthy(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", n.Name(), err)
		case <-ticker.C:
		}
	}
}

// Healthy asks every component of the node for its health and returns all
// that is wrong.
func (n *Node) Healthy(ctx context.Context) error {
	client := n.httpClient()
	defer client.CloseIdleConnections()
	var problems []error
	for _, e := range healthEndpoints {
		if err := probe(ctx, client, e.url); err != nil {
			problems = append(problems, fmt.Errorf("%s of %s: %w", e.component, n.Name(), err))
		}
	}
	return errors.Join(problems...)
}

// httpClient makes connections from within the node, each of its own, and
// believes any certificate: whether it answers is what is asked.
func (n *Node) httpClient() *http.Client {
	return &http.Client{
		Timeout: probeTimeout,
		Transport: &http.Transport{
			DialContext:       n.DialContext,
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		},
	}
}

func probe(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", url, response.Status, body)
	}
	return nil
}
