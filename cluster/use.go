package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// What follows has the node's own API server do what it needs a client certificate of
// its own for. Nobody else can: which one it has loaded cannot be seen from outside.
// Every function takes at most 3 s and says what was done, and answers
//
//   - nil: that works, with whatever the API server has loaded;
//   - *RefusedError: the server at the other end turned the API server's certificate
//     away;
//   - any other error: it could not be told.

// UseKubelet has the API server ask the kubelet of a node for its health.
func (a API) UseKubelet(ctx context.Context, node string) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	kubelet := "the kubelet of " + node
	got, _, err := a.believed(ctx, "/api/v1/nodes/"+url.PathEscape(node)+"/proxy/healthz")
	switch {
	case err != nil:
		return "", err
	case got.code == http.StatusOK:
		return kubelet + " has answered the API server", nil
	// A kubelet that does not believe a certificate takes its owner for a stranger, and
	// says so in plain words (kubelet: server/server.go, InstallAuthFilter).
	case got.code == http.StatusUnauthorized && !got.status(),
		got.code == http.StatusForbidden && strings.Contains(string(got.body), "user="+anonymous):
		return "", &RefusedError{Server: kubelet, Err: errors.New(got.text)}
	default:
		return "", fmt.Errorf("%s was asked through the API server: %s", kubelet, got.text)
	}
}

// UseEtcd asks the API server whether it reaches its etcd. It may do so on a connection
// that is older than any file.
func (a API) UseEtcd(ctx context.Context) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	got, _, err := a.believed(ctx, "/readyz/etcd")
	switch {
	case err != nil:
		return "", err
	case got.code != http.StatusOK:
		// Etcd's own troubles look the same.
		return "", fmt.Errorf("readyz/etcd of the API server: %s", got.text)
	default:
		return "readyz/etcd of the API server is ok", nil
	}
}

// ErrNoAggregatedAPI says that this cluster has no API of others that works, so that the
// API server uses its front-proxy certificate for nothing.
var ErrNoAggregatedAPI = errors.New("no aggregated API is there and available")

// UseAggregated asks an aggregated API what it has, through the API server.
func (a API) UseAggregated(ctx context.Context) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	services, kubeconfig, err := a.believed(ctx, "/apis/apiregistration.k8s.io/v1/apiservices")
	if err != nil {
		return "", err
	}
	if services.code != http.StatusOK {
		return "", fmt.Errorf("the aggregated APIs could not be listed: %s", services.text)
	}
	group, version, err := aggregated(services.body)
	if err != nil {
		return "", err
	}
	got, err := a.getOwn(ctx, kubeconfig, "/apis/"+group+"/"+version)
	api := "the aggregated API " + group + "/" + version
	switch {
	case err != nil:
		return "", err
	case got.code == http.StatusOK:
		return api + " has answered the API server", nil
	// The API server itself has believed us a moment ago.
	case got.code == http.StatusUnauthorized,
		got.code == http.StatusForbidden && strings.Contains(string(got.body), anonymous):
		return "", &RefusedError{Server: api, Err: errors.New(got.text)}
	default:
		return "", fmt.Errorf("%s was asked through the API server: %s", api, got.text)
	}
}

// condition is one of an APIService.
type condition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
}

// aggregated finds an API that a service in the cluster serves, and that is available.
func aggregated(list []byte) (group, version string, err error) {
	var services struct {
		Items []struct {
			Spec struct {
				Group   string          `json:"group"`
				Version string          `json:"version"`
				Service json.RawMessage `json:"service"`
			} `json:"spec"`
			Status struct {
				Conditions []condition `json:"conditions"`
			} `json:"status"`
		} `json:"items"`
	}
	if err := json.Unmarshal(list, &services); err != nil {
		return "", "", fmt.Errorf("the aggregated APIs could not be listed: %w", err)
	}
	for _, s := range services.Items {
		available := slices.ContainsFunc(s.Status.Conditions, func(c condition) bool { return c == condition{"Available", "True"} })
		if local := len(s.Spec.Service) == 0 || string(s.Spec.Service) == "null"; available && !local {
			return s.Spec.Group, s.Spec.Version, nil
		}
	}
	return "", "", ErrNoAggregatedAPI
}

// status says whether an answer is a v1 Status, as the API server gives one itself.
func (a answer) status() bool {
	var said struct {
		Kind string `json:"kind"`
	}
	return json.Unmarshal(a.body, &said) == nil && said.Kind == "Status"
}

// believed asks the API server for a path with the first credentials that it believes,
// and says which those are.
func (a API) believed(ctx context.Context, path string) (got answer, kubeconfig string, err error) {
	var failed []error
	for _, kubeconfig := range a.Kubeconfigs {
		got, err := a.getOwn(ctx, kubeconfig, path)
		switch {
		case err != nil:
			failed = append(failed, err)
		case got.code == http.StatusUnauthorized && got.status():
			failed = append(failed, fmt.Errorf("it refused the credentials of %s: %s", kubeconfig, got.text))
		default:
			return got, kubeconfig, nil
		}
	}
	return answer{}, "", fmt.Errorf("the API server could not be asked: %w", errors.Join(failed...))
}

// getOwn asks the node's own API server, and no other, for a path as it is.
func (a API) getOwn(ctx context.Context, kubeconfig, path string) (answer, error) {
	config, err := a.config(kubeconfig)
	if err != nil {
		return answer{}, err
	}
	got, err := send(ctx, config, config.Host, request{method: http.MethodGet, path: path})
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", kubeconfig, err)
	}
	return got, nil
}
