package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// deadline bounds one request to the API server. A black-holed address costs no
// more than this.
const deadline = 3 * time.Second

// API is the Kubernetes API as this node reaches it.
type API struct {
	// Kubeconfigs are tried in this order until one is answered. They are read anew for
	// each request, because their credentials change.
	Kubeconfigs []string
	// Address is the node's own API server ("192.0.2.1:6443"), asked instead of the
	// kubeconfig's server, which may be a load balancer in front of others. The
	// certificate is checked against the kubeconfig's server name. Empty to ask the
	// kubeconfig's server.
	Address string
	// Others are further API servers of the cluster ("192.0.2.2:6443"), for when neither
	// of these answers.
	Others []string
}

// Configuration returns the ClusterConfiguration that kubeadm stored in ConfigMap
// kube-system/kubeadm-config, as YAML. kubelet.conf is enough for it: kubeadm
// binds Role kubeadm:nodes-kubeadm-config to all nodes (kubeadm:
// phases/uploadconfig/uploadconfig.go).
func (a API) Configuration(ctx context.Context) ([]byte, error) {
	var stored struct {
		Data map[string]string `json:"data"`
	}
	if err := a.get(ctx, "/api/v1/namespaces/kube-system/configmaps/kubeadm-config", nil, &stored); err != nil {
		return nil, fmt.Errorf("kubeadm-config could not be read: %w", err)
	}
	content, ok := stored.Data["ClusterConfiguration"]
	if !ok {
		return nil, errors.New("ConfigMap kube-system/kubeadm-config has no key ClusterConfiguration: was this cluster made by kubeadm?")
	}
	return []byte(content), nil
}

// read reads a kubeconfig. Its server must prove to have the name that the kubeconfig
// gives it at whatever address it is asked.
func read(kubeconfig string) (*rest.Config, error) {
	// Without a file clientcmd would take the service account of a pod for meant.
	if _, err := os.Stat(kubeconfig); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kubeconfig, err)
	}
	// Read now: files would be watched for as long as the process lives, with a wake-up
	// every ten seconds for each (client-go: transport/cert_rotation.go).
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, fmt.Errorf("%s: %w", kubeconfig, err)
	}
	config.CertFile, config.KeyFile, config.CAFile = "", "", ""
	config.UserAgent = userAgent
	server, err := url.Parse(config.Host)
	if err != nil || server.Hostname() == "" {
		return nil, fmt.Errorf("%s: its server %q is no URL", kubeconfig, config.Host)
	}
	config.Host = strings.TrimSuffix(config.Host, "/")
	if config.ServerName == "" {
		config.ServerName = server.Hostname()
	}
	return config, nil
}

// config reads a kubeconfig and turns it to a.Address.
func (a API) config(kubeconfig string) (*rest.Config, error) {
	config, err := read(kubeconfig)
	if err == nil && a.Address != "" {
		config.Host = "https://" + a.Address
	}
	return config, err
}

// userAgent is our name in the API server's audit log.
const userAgent = "kubecertd"
