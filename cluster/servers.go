package cluster

import (
	"context"
	"fmt"
	"net"
	"strconv"
)

// APIServers are the addresses of the cluster's API servers that are up, as they have
// entered themselves into the endpoints of Service default/kubernetes (kubernetes:
// controlplane/reconcilers).
func (a API) APIServers(ctx context.Context) ([]string, error) {
	var slice struct {
		Endpoints []struct {
			Addresses []string `json:"addresses"`
		} `json:"endpoints"`
		Ports []struct {
			Port int `json:"port"`
		} `json:"ports"`
	}
	if err := a.get(ctx, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes", nil, &slice); err != nil {
		return nil, fmt.Errorf("endpoints of Service default/kubernetes: %w", err)
	}
	var addresses []string
	for _, endpoint := range slice.Endpoints {
		for _, address := range endpoint.Addresses {
			for _, port := range slice.Ports {
				addresses = append(addresses, net.JoinHostPort(address, strconv.Itoa(port.Port)))
			}
		}
	}
	return addresses, nil
}
