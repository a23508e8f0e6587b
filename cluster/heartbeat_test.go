package cluster_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/cluster"
)

func TestHeartbeat(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		want   time.Time
		err    string
	}{
		"renewed":       {200, `{"kind":"Lease","spec":{"holderIdentity":"cp1","renewTime":"2026-03-01T12:00:00.250000Z"}}`, time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC), ""},
		"never renewed": {200, `{"kind":"Lease","spec":{}}`, time.Time{}, ""},
		"refused":       {401, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","message":"Unauthorized","code":401}`, time.Time{}, "lease of node cp1"},
		"no JSON":       {200, `<html>`, time.Time{}, "lease of node cp1"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/cp1" {
					t.Errorf("asked for %s", r.URL.Path)
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
			}))
			t.Cleanup(server.Close)
			got, err := cluster.API{Kubeconfigs: []string{"/nowhere", kubeconfig(t, server, server.URL)}}.Heartbeat(t.Context(), "cp1")
			if !got.Equal(tt.want) || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("heartbeat %s, %v", got, err)
			}
		})
	}
}
