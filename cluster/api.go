package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// deadline bounds one request to the API server. A black-holed address costs no
// more than this.
const deadline = 3 * time.Second

// API is the Kubernetes API as this node reaches it.
type API struct {
	// Kubeconfigs are tried in this order until one is answered. They are read anew for each request, because their credentials change.
	Kubeconfigs []string
	// Address is the node's own API server ("192.0.2.1:6443"), asked instead of the
	// kubeconfig's server, which may be a load balancer in front of others. The
	// certificate is checked against the kubeconfig's server name. Empty to ask the
	// kubeconfig's server.
	Address string
}

// Configuration returns the ClusterConfiguration that kubeadm stored in ConfigMap
// kube-system/kubeadm-config, as YAML. kubelet.conf is enough for it: kubeadm
// binds Role kubeadm:nodes-kubeadm-config to all nodes (kubeadm:
// phases/uploadconfig/uploadconfig.go).
func (a API) Configuration(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	var failed []error
	for _, kubeconfig := range a.Kubeconfigs {
		content, err := a.configuration(ctx, kubeconfig)
		switch {
		case err == nil:
			return content, nil
		case said(err, http.StatusUnauthorized, http.StatusForbidden):
			failed = append(failed, fmt.Errorf("the API server refused the credentials of %s: %w", kubeconfig, err))
		default:
			failed = append(failed, fmt.Errorf("kubeadm-config could not be read with %s: %w", kubeconfig, err))
		}
	}
	return nil, fmt.Errorf("the API server could not be asked: %w", errors.Join(failed...))
}

func (a API) configuration(ctx context.Context, kubeconfig string) ([]byte, error) {
	raw, err := a.request(ctx, kubeconfig, http.MethodGet, "/api/v1/namespaces/kube-system/configmaps/kubeadm-config", nil)
	if err != nil {
		return nil, err
	}
	var stored struct {
		Data map[string]string `json:"data"`
	}
	if err := json.Unmarshal(raw, &stored); err != nil {
		return nil, err
	}
	content, ok := stored.Data["ClusterConfiguration"]
	if !ok {
		return nil, errors.New("ConfigMap kube-system/kubeadm-config has no key ClusterConfiguration: was this cluster made by kubeadm?")
	}
	return []byte(content), nil
}

// userAgent is our name in the API server's audit log.
const userAgent = "kubecertd"
