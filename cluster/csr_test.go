package cluster_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/cluster"
)

// csrServer holds the requests of a cluster, a page each, as the API server does.
type csrServer struct {
	t       *testing.T
	items   []map[string]any
	queries []string
}

func csr(name, username, signer string, conditions ...any) map[string]any {
	return map[string]any{
		"metadata": map[string]any{"name": name, "resourceVersion": "7", "creationTimestamp": "2026-03-01T12:00:00Z", "labels": map[string]any{"keep": "me"}},
		"spec": map[string]any{"request": []byte("the request"), "signerName": signer, "usages": []string{"digital signature", "server auth"},
			"username": username, "groups": []string{"system:nodes", "system:authenticated"}},
		"status": map[string]any{"conditions": conditions},
	}
}

func (s *csrServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const place = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.Method == http.MethodGet && r.URL.Path == place:
		s.queries = append(s.queries, r.URL.Query().Get("fieldSelector"))
		var page int
		_, _ = fmt.Sscan(r.URL.Query().Get("continue"), &page)
		metadata := map[string]any{}
		if page+1 < len(s.items) {
			metadata["continue"] = fmt.Sprint(page + 1)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"metadata": metadata, "items": s.items[page : page+1]})
	case r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/approval"):
		var put map[string]any
		if err := json.NewDecoder(r.Body).Decode(&put); err != nil {
			s.t.Error(err)
		}
		for i, item := range s.items {
			if place+"/"+item["metadata"].(map[string]any)["name"].(string)+"/approval" != r.URL.Path {
				continue
			}
			if put["metadata"].(map[string]any)["resourceVersion"] != item["metadata"].(map[string]any)["resourceVersion"] {
				w.WriteHeader(http.StatusConflict)
				fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"it has changed","code":409}`)
				return
			}
			s.items[i] = put
		}
	default:
		s.t.Errorf("%s %s", r.Method, r.URL.Path)
		w.WriteHeader(http.StatusNotFound)
	}
}

const serving = "kubernetes.io/kubelet-serving"

func TestServingRequests(t *testing.T) {
	s := &csrServer{t: t, items: []map[string]any{
		csr("other-node", "system:node:cp2", serving),
		csr("other-signer", "system:node:cp1", "kubernetes.io/kube-apiserver-client-kubelet"),
		csr("pending", "system:node:cp1", serving),
		csr("denied", "system:node:cp1", serving, map[string]any{"type": "Denied", "reason": "No", "message": "not today"}),
		csr("approved", "system:node:cp1", serving, map[string]any{"type": "Approved", "reason": "Yes"}),
	}}
	server := httptest.NewTLSServer(s)
	t.Cleanup(server.Close)
	api := cluster.API{Kubeconfigs: []string{kubeconfig(t, server, server.URL)}}
	got, err := api.ServingRequests(t.Context(), "cp1")
	if err != nil {
		t.Fatal(err)
	}
	type seen struct {
		name             string
		approved, denied bool
		said, pem        string
	}
	var list []seen
	for _, r := range got {
		list = append(list, seen{r.Name, r.Approved, r.Denied, r.Said, string(r.PEM)})
	}
	want := []seen{{"pending", false, false, "", "the request"}, {"denied", false, true, "No: not today", "the request"}, {"approved", true, false, "", "the request"}}
	if diff := cmp.Diff(want, list, cmp.AllowUnexported(seen{})); diff != "" {
		t.Error(diff)
	}
	if s.queries[0] != "spec.signerName="+serving {
		t.Errorf("asked for %q", s.queries[0])
	}

	now := time.Date(2026, 3, 1, 12, 1, 0, 0, time.UTC)
	if err := api.Approve(t.Context(), got[0], "it is this node's own", now); err != nil {
		t.Fatal(err)
	}
	stored := s.items[2]
	condition := stored["status"].(map[string]any)["conditions"].([]any)[0].(map[string]any)
	if condition["type"] != "Approved" || condition["status"] != "True" || condition["message"] != "it is this node's own" {
		t.Errorf("it has the condition %v", condition)
	}
	if stored["metadata"].(map[string]any)["labels"].(map[string]any)["keep"] != "me" {
		t.Error("what else is in it is lost")
	}

	s.items[3]["metadata"].(map[string]any)["resourceVersion"] = "8"
	if err := api.Approve(t.Context(), got[1], "", now); err == nil || !strings.Contains(err.Error(), "it has changed") {
		t.Errorf("one that has changed since it was read: %v", err)
	}
}
