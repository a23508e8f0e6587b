package cluster

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// TryReady asks the API server at address ("192.0.2.2:6443") whether it is ready. It must
// prove with the CA file to be who serves at that address.
func TryReady(ctx context.Context, address, ca, certificate, key string) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	authorities, err := pool(ca)
	if err != nil {
		return fmt.Errorf("CA of the API server: %w", err)
	}
	security := &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}
	// Strangers may ask too, unless that was switched off; a client certificate that
	// cannot be read is nothing to do with the server at the other end.
	if pair, err := tls.LoadX509KeyPair(certificate, key); err == nil {
		security.Certificates = []tls.Certificate{pair}
	}
	a := newAttempt("the API server at "+address, &url.URL{Scheme: "https", Host: address}, security)
	got, err := a.do(ctx, http.MethodGet, "/readyz", nil, nil)
	switch {
	case err != nil:
		return err
	case got.code != http.StatusOK:
		return fmt.Errorf("readyz says %s", got.text)
	}
	return nil
}

// NodeSeen is what the API knows of a node.
type NodeSeen struct {
	There bool
	// Silent is since when its kubelet has not reported any more, as the controller
	// manager says; zero while it reports. A node that reports to be not ready is not
	// silent.
	Silent time.Time
	// Addresses are the node's own.
	Addresses []string
}

// SeeNode asks the API for a node.
func (a API) SeeNode(ctx context.Context, name string) (NodeSeen, error) {
	if name == "" || name != url.PathEscape(name) {
		return NodeSeen{}, nil // no node can be called that
	}
	got, err := a.ask(ctx, request{method: http.MethodGet, path: "/api/v1/nodes/" + name})
	if err == nil && got.code == http.StatusNotFound {
		return NodeSeen{}, nil
	}
	if err == nil && got.code != http.StatusOK {
		err = got.err()
	}
	if err != nil {
		return NodeSeen{}, fmt.Errorf("node %s: %w", name, err)
	}
	var node struct {
		Status struct {
			Conditions []struct {
				Type               string    `json:"type"`
				Status             string    `json:"status"`
				LastTransitionTime time.Time `json:"lastTransitionTime"`
			} `json:"conditions"`
			Addresses []struct {
				Type    string `json:"type"`
				Address string `json:"address"`
			} `json:"addresses"`
		} `json:"status"`
	}
	if err := json.Unmarshal(got.body, &node); err != nil {
		return NodeSeen{}, fmt.Errorf("node %s: %w", name, err)
	}
	seen := NodeSeen{There: true}
	for _, c := range node.Status.Conditions {
		if c.Type == "Ready" && c.Status == "Unknown" {
			seen.Silent = c.LastTransitionTime
		}
	}
	for _, address := range node.Status.Addresses {
		if address.Type == "InternalIP" {
			seen.Addresses = append(seen.Addresses, address.Address)
		}
	}
	return seen, nil
}
