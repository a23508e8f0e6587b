package cluster

import (
	"context"
	"fmt"
	"net/url"
	"time"
)

// Heartbeat is when the kubelet of a node has last renewed the lease of its node, by its
// own clock: every ten seconds, and at once when it has started (kubelet:
// component-helpers apimachinery/lease).
func (a API) Heartbeat(ctx context.Context, node string) (time.Time, error) {
	var lease struct {
		Spec struct {
			RenewTime time.Time `json:"renewTime"`
		} `json:"spec"`
	}
	if err := a.get(ctx, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/"+url.PathEscape(node), nil, &lease); err != nil {
		return time.Time{}, fmt.Errorf("lease of node %s: %w", node, err)
	}
	return lease.Spec.RenewTime, nil
}
