package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
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
		client, err := a.client(kubeconfig)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		content, err := configuration(ctx, client)
		hangUp(client)
		switch {
		case err == nil:
			return content, nil
		case apierrors.IsUnauthorized(err), apierrors.IsForbidden(err):
			failed = append(failed, fmt.Errorf("the API server refused the credentials of %s: %w", kubeconfig, err))
		default:
			failed = append(failed, fmt.Errorf("kubeadm-config could not be read with %s: %w", kubeconfig, err))
		}
	}
	return nil, fmt.Errorf("the API server could not be asked: %w", errors.Join(failed...))
}

func configuration(ctx context.Context, client *rest.RESTClient) ([]byte, error) {
	answer := client.Get().Namespace("kube-system").Resource("configmaps").Name("kubeadm-config").Do(ctx)
	if err := answer.Error(); err != nil {
		return nil, err
	}
	raw, _ := answer.Raw() // fails only where Error does
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

// client makes a client from a kubeconfig.
//
// It is client-go's plain REST client over a scheme that holds no API group. The
// typed clients would register every group of Kubernetes, and core/v1 alone is six
// megabytes of resident memory that a daemon on every node would pay for two
// fields of a ConfigMap.
func (a API) client(kubeconfig string) (*rest.RESTClient, error) {
	config, err := a.config(kubeconfig)
	if err != nil {
		return nil, err
	}
	config.GroupVersion = &v1
	config.APIPath = "/api"
	config.NegotiatedSerializer = codecs.WithoutConversion()
	config.Timeout = deadline
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kubeconfig, err)
	}
	return client, nil
}

// hangUp ends the connections that a client keeps for a next request. That is an hour
// away, and until then client-go would ping each of them every 30 seconds.
func hangUp(client *rest.RESTClient) { utilnet.CloseIdleConnectionsFor(client.Client.Transport) }

// config reads a kubeconfig and turns it to a.Address.
func (a API) config(kubeconfig string) (*rest.Config, error) {
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
	if a.Address == "" {
		return config, nil
	}
	server, err := url.Parse(config.Host)
	if err != nil || server.Hostname() == "" {
		return nil, fmt.Errorf("%s: its server %q is no URL", kubeconfig, config.Host)
	}
	if config.ServerName == "" {
		config.ServerName = server.Hostname()
	}
	config.Host = "https://" + a.Address
	return config, nil
}

// userAgent is our name in the API server's audit log.
const userAgent = "kubecertd"

// v1 is the core group.
var v1 = schema.GroupVersion{Version: "v1"}

// codecs know how the API server says that something went wrong (v1 Status), and
// nothing else.
var codecs = func() serializer.CodecFactory {
	scheme := apiruntime.NewScheme()
	metav1.AddToGroupVersion(scheme, v1)
	return serializer.NewCodecFactory(scheme)
}()
