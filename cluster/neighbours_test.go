package cluster_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/cluster"
)

// pages serves fixed answers by path, 404 for what has none, and keeps what was sent.
func pages(t *testing.T, answers map[string]string) (api cluster.API, sent func() []string) {
	t.Helper()
	var bodies []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		body, _ := io.ReadAll(r.Body)
		if len(body) > 0 {
			bodies = append(bodies, r.Method+" "+r.URL.Path+" "+r.Header.Get("Content-Type")+" "+string(body))
		}
		answer, ok := answers[r.URL.RequestURI()]
		switch {
		case !ok:
			w.WriteHeader(http.StatusNotFound)
			answer = `{"kind":"Status","apiVersion":"v1","code":404,"message":"not found"}`
		case strings.HasPrefix(answer, "5"):
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(server.Close)
	return cluster.API{Kubeconfigs: []string{kubeconfig(t, server, server.URL)}}, func() []string { return bodies }
}

const (
	nodesPath = "/api/v1/nodes?labelSelector=node-role.kubernetes.io%2Fcontrol-plane"
	podsPath  = "/api/v1/namespaces/kube-system/pods?labelSelector=tier%3Dcontrol-plane"
	kuredPath = "/apis/apps/v1/namespaces/kube-system/daemonsets/kured"
)

func TestNeighbours(t *testing.T) {
	api, _ := pages(t, map[string]string{
		nodesPath: `{"items":[
			{"metadata":{"name":"cp1"},"spec":{}},
			{"metadata":{"name":"cp2","annotations":{"weave.works/kured-reboot-in-progress":"2026-03-01T10:00:00Z"}},
			 "spec":{"unschedulable":true,"taints":[{"key":"node-role.kubernetes.io/control-plane","effect":"NoSchedule"},
			 {"key":"node.kubernetes.io/unschedulable","effect":"NoSchedule","timeAdded":"2026-03-01T09:00:00Z"}]}}]}`,
		podsPath: `{"items":[
			{"metadata":{"labels":{"component":"etcd"}},"spec":{"nodeName":"cp1","containers":[{"image":"registry.k8s.io/etcd:3.6.8-0"}]}},
			{"metadata":{"labels":{"component":"kube-apiserver"}},"spec":{"nodeName":"cp1","containers":[{"image":"mirror:5000/kube-apiserver:v1.36.3@sha256:c0ffee"}]}},
			{"metadata":{"labels":{"component":"kube-apiserver"}},"spec":{"nodeName":"cp2","containers":[{"image":"mirror:5000/kube-apiserver@sha256:c0ffee"}]}},
			{"metadata":{"labels":{}},"spec":{"nodeName":"cp1","containers":[{"image":"other:1"}]}},
			{"metadata":{"labels":{"component":"none"}},"spec":{"nodeName":"cp1"}}]}`,
	})
	got, err := api.Neighbours(t.Context(), "kube-system/kured")
	if err != nil {
		t.Fatal(err)
	}
	want := cluster.Neighbours{Nodes: []cluster.Neighbour{
		{Name: "cp1", Versions: map[string]string{"etcd": "3.6.8-0", "kube-apiserver": "v1.36.3"}},
		{Name: "cp2", Cordoned: true, Since: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), Rebooting: "2026-03-01T10:00:00Z",
			Versions: map[string]string{"kube-apiserver": "sha256:c0ffee"}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// What could be seen is told also when not all could.
func TestNeighboursInPart(t *testing.T) {
	api, _ := pages(t, map[string]string{nodesPath: `{"items":[{"metadata":{"name":"cp1"}}]}`, podsPath: "5", kuredPath: "5"})
	got, err := api.Neighbours(t.Context(), "kube-system/kured")
	if len(got.Nodes) != 1 || err == nil || !strings.Contains(err.Error(), "static pods") || !strings.Contains(err.Error(), "DaemonSet kube-system/kured") {
		t.Errorf("%v, %v", got, err)
	}
}

func TestKured(t *testing.T) {
	created := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for lock, want := range map[string]struct {
		holds    []cluster.KuredHold
		nonsense string
	}{
		`{"nodeID":"cp2","metadata":{"unschedulable":false},"created":"2026-03-01T09:00:00Z","TTL":0}`:        {holds: []cluster.KuredHold{{Node: "cp2", Created: created}}},
		`{"nodeID":"cp2","created":"2026-03-01T09:00:00Z","TTL":1800000000000}`:                               {holds: []cluster.KuredHold{{Node: "cp2", Created: created, TTL: 30 * time.Minute}}},
		`{"maxOwners":2,"locks":[{"nodeID":"w1","created":"2026-03-01T09:00:00Z","TTL":0},{"nodeID":"cp2"}]}`: {holds: []cluster.KuredHold{{Node: "w1", Created: created}, {Node: "cp2"}}},
		`{"maxOwners":2,"locks":[]}`: {},
		`{"maxOwners":2}`:            {nonsense: "names no node"},
		`null`:                       {nonsense: "names no node"},
		`cp2`:                        {nonsense: "cannot be read"},
		``:                           {nonsense: "cannot be read"},
	} {
		api, _ := pages(t, map[string]string{nodesPath: "{}", podsPath: "{}",
			kuredPath: fmt.Sprintf(`{"metadata":{"annotations":{"weave.works/kured-node-lock":%q}}}`, lock)})
		got, err := api.Neighbours(t.Context(), "kube-system/kured")
		if err != nil {
			t.Errorf("%s: %v", lock, err)
		}
		holds := got.Kured
		if len(holds) == 0 {
			holds = nil
		}
		if diff := cmp.Diff(want.holds, holds); diff != "" || !strings.Contains(got.KuredNonsense, want.nonsense) || (want.nonsense == "") != (got.KuredNonsense == "") {
			t.Errorf("%s: nonsense %q, want %q (-want +got)\n%s", lock, got.KuredNonsense, want.nonsense, diff)
		}
	}
	// One that holds no lock, and a cluster in which nobody looks for it.
	for _, name := range []string{"kube-system/kured", ""} {
		api, _ := pages(t, map[string]string{nodesPath: "{}", podsPath: "{}", kuredPath: `{"metadata":{"name":"kured"}}`})
		if got, err := api.Neighbours(t.Context(), name); err != nil || got.Kured != nil || got.KuredNonsense != "" {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
}

func TestMark(t *testing.T) {
	api, sent := pages(t, map[string]string{"/api/v1/nodes/cp1": "{}"})
	if err := api.Mark(t.Context(), "cp1", `{"run":"1"}`); err != nil {
		t.Error(err)
	}
	if err := api.Mark(t.Context(), "cp1", ""); err != nil {
		t.Error(err)
	}
	if err := api.Mark(t.Context(), "cp9", ""); err == nil || !strings.Contains(err.Error(), "annotation kubecertd.io/turn of node cp9: 404") {
		t.Errorf("a node that is not there: %v", err)
	}
	const patch = "PATCH /api/v1/nodes/cp1 application/merge-patch+json "
	want := []string{patch + `{"metadata":{"annotations":{"kubecertd.io/turn":"{\"run\":\"1\"}"}}}`,
		patch + `{"metadata":{"annotations":{"kubecertd.io/turn":null}}}`}
	if diff := cmp.Diff(want, sent()[:2]); diff != "" {
		t.Error(diff)
	}
}

func TestAPIServers(t *testing.T) {
	api, _ := pages(t, map[string]string{"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes": `{"endpoints":[
		{"addresses":["192.0.2.1"]},{"addresses":["192.0.2.2"]},{"addresses":["2001:db8::3"]}],"ports":[{"name":"https","port":6443}]}`})
	got, err := api.APIServers(t.Context())
	if diff := cmp.Diff([]string{"192.0.2.1:6443", "192.0.2.2:6443", "[2001:db8::3]:6443"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}
