package cluster_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kubecertd/kubecertd/cluster"
)

// services is a list of APIServices, as far as it matters.
func services(items ...string) string {
	return `{"kind":"APIServiceList","apiVersion":"apiregistration.k8s.io/v1","items":[` + strings.Join(items, ",") + `]}`
}

const (
	local       = `{"spec":{"group":"apps","version":"v1","service":null},"status":{"conditions":[{"type":"Available","status":"True"}]}}`
	unavailable = `{"spec":{"group":"custom.metrics.k8s.io","version":"v1beta1","service":{"name":"b"}},"status":{"conditions":[{"type":"Available","status":"False"}]}}`
	metrics     = `{"spec":{"group":"metrics.k8s.io","version":"v1beta1","service":{"name":"a"}},"status":{"conditions":[{"type":"Available","status":"True"}]}}`
	forbidden   = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"forbidden: User \"%s\" cannot get path"}`
	unbelieved  = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","code":401,"message":"Unauthorized"}`
)

func TestUse(t *testing.T) {
	const (
		kubelet = "/api/v1/nodes/cp1/proxy/healthz"
		etcd    = "/readyz/etcd"
		list    = "/apis/apiregistration.k8s.io/v1/apiservices"
		api     = "/apis/metrics.k8s.io/v1beta1"
	)
	type page struct {
		code int
		body string
	}
	type pages map[string]page
	tests := []struct {
		name  string
		use   string
		pages pages
		want  string // works, refused or untold
		said  string
	}{
		{"kubelet", "kubelet", pages{kubelet: {200, "ok"}}, "works", "the kubelet of cp1 has answered"},
		{"kubelet that does not believe the API server", "kubelet", pages{kubelet: {401, "Unauthorized"}}, "refused", "the kubelet of cp1 refused the credential: 401"},
		{"kubelet that takes it for a stranger", "kubelet", pages{kubelet: {403, "Forbidden (user=system:anonymous, verb=get, resource=nodes)"}}, "refused", "403"},
		{"kubelet that lets the API server do other things", "kubelet", pages{kubelet: {403, "Forbidden (user=kube-apiserver-kubelet-client, verb=get)"}}, "untold", "403"},
		{"API server that does not believe us", "kubelet", pages{kubelet: {401, unbelieved}}, "untold", "refused the credentials of"},
		{"API server that forbids it", "kubelet", pages{kubelet: {403, fmt.Sprintf(forbidden, "kubernetes-admin")}}, "untold", "403"},
		{"kubelet that is away", "kubelet", pages{kubelet: {503, "dial tcp: connection refused"}}, "untold", "503"},
		{"etcd", "etcd", pages{etcd: {200, "ok"}}, "works", "readyz/etcd of the API server is ok"},
		{"etcd in trouble", "etcd", pages{etcd: {500, "internal server error: etcd failed: reason withheld"}}, "untold", "500"},
		{"aggregated", "aggregated", pages{list: {200, services(local, unavailable, metrics)}, api: {200, "{}"}}, "works", "metrics.k8s.io/v1beta1 has answered"},
		{"no aggregated", "aggregated", pages{list: {200, services(local)}}, "untold", cluster.ErrNoAggregatedAPI.Error()},
		{"none available", "aggregated", pages{list: {200, services(local, unavailable)}}, "untold", cluster.ErrNoAggregatedAPI.Error()},
		{"aggregated does not believe the front proxy", "aggregated", pages{list: {200, services(metrics)}, api: {401, unbelieved}}, "refused", "the aggregated API metrics.k8s.io/v1beta1 refused the credential: 401"},
		{"aggregated takes us for a stranger", "aggregated", pages{list: {200, services(metrics)}, api: {403, fmt.Sprintf(forbidden, "system:anonymous")}}, "refused", "403"},
		{"aggregated forbids it", "aggregated", pages{list: {200, services(metrics)}, api: {403, fmt.Sprintf(forbidden, "kubernetes-admin")}}, "untold", "403"},
		{"aggregated is slow", "aggregated", pages{list: {200, services(metrics)}, api: {503, "error trying to reach service"}}, "untold", "503"},
		{"the list is forbidden", "aggregated", pages{list: {403, fmt.Sprintf(forbidden, "system:node:cp1")}}, "untold", "could not be listed: 403"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				p, ok := tt.pages[r.URL.Path]
				if !ok || r.Method != http.MethodGet {
					t.Errorf("%s %s", r.Method, r.URL.Path)
				}
				w.Header().Set("Content-Type", "text/plain")
				if strings.HasPrefix(p.body, "{") {
					w.Header().Set("Content-Type", "application/json")
				}
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(p.code)
				fmt.Fprint(w, p.body)
			}))
			defer server.Close()
			a := cluster.API{Kubeconfigs: []string{t.TempDir() + "/none", kubeconfig(t, server, server.URL)}}
			var said string
			var err error
			switch tt.use {
			case "kubelet":
				said, err = a.UseKubelet(t.Context(), "cp1")
			case "etcd":
				said, err = a.UseEtcd(t.Context())
			default:
				said, err = a.UseAggregated(t.Context())
			}
			got := "works"
			if err != nil {
				got, said = "untold", err.Error()
				if errors.As(err, new(*cluster.RefusedError)) {
					got = "refused"
				}
			}
			if got != tt.want || !strings.Contains(said, tt.said) {
				t.Errorf("%s (%s), want %s (%s)", got, said, tt.want, tt.said)
			}
			if asked != len(tt.pages) {
				t.Errorf("%d requests, want %d", asked, len(tt.pages))
			}
		})
	}
}
