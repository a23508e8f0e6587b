package cluster_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/cluster"
)

// leaseServer holds one lease, as the API server does.
type leaseServer struct {
	t       *testing.T
	lease   map[string]any
	version int
	puts    int
	status  int    // answered to every request, if set
	between func() // called between reading and writing
}

func (s *leaseServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler" {
		s.t.Errorf("asked for %s", r.URL.Path)
	}
	w.Header().Set("Content-Type", "application/json")
	fail := func(code int, reason string) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d}`, reason, code)
	}
	if s.status != 0 {
		fail(s.status, "Forbidden")
		return
	}
	if r.Method == http.MethodPut {
		s.puts++
		if s.between != nil {
			s.between()
		}
		var put map[string]any
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &put); err != nil {
			s.t.Error(err)
		}
		if put["metadata"].(map[string]any)["resourceVersion"] != fmt.Sprint(s.version) {
			fail(http.StatusConflict, "Conflict")
			return
		}
		s.lease = put
		s.version++
	}
	s.lease["metadata"].(map[string]any)["resourceVersion"] = fmt.Sprint(s.version)
	_ = json.NewEncoder(w).Encode(s.lease)
}

func (s *leaseServer) hold(holder string) {
	s.lease["spec"].(map[string]any)["holderIdentity"] = holder
	s.version++
}

func newLease(t *testing.T, holder string) (*leaseServer, *cluster.LeaderLease) {
	t.Helper()
	s := &leaseServer{t: t, version: 7, lease: map[string]any{"kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
		"metadata": map[string]any{"name": "kube-scheduler", "labels": map[string]any{"keep": "me"}},
		"spec":     map[string]any{"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 4, "strategy": "newer"}}}
	server := httptest.NewTLSServer(s)
	t.Cleanup(server.Close)
	// A second answer from the same server would be no other.
	file := kubeconfig(t, server, server.URL)
	return s, &cluster.LeaderLease{API: cluster.API{Kubeconfigs: []string{file, file}}, Component: "kube-scheduler", Node: "cp1"}
}

func TestLeaderLeaseReleased(t *testing.T) {
	s, lease := newLease(t, "cp1_c0ffee")
	if leads, err := lease.Hold(t.Context()); !leads || err != nil {
		t.Fatalf("leads %t, %v", leads, err)
	}
	if released, err := lease.Release(t.Context()); !released || err != nil {
		t.Fatalf("released %t, %v", released, err)
	}
	want := map[string]any{"holderIdentity": "", "leaseDurationSeconds": 1.0, "leaseTransitions": 4.0, "strategy": "newer"}
	if diff := cmp.Diff(want, s.lease["spec"]); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if s.lease["metadata"].(map[string]any)["labels"] == nil {
		t.Error("what else the lease had is gone")
	}
}

// The lease of anybody else is never touched.
func TestLeaderLeaseOfOthers(t *testing.T) {
	tests := []struct {
		name   string
		holder string
		leads  bool
		after  func(*leaseServer) // between Hold and Release
		puts   int
	}{
		{"another node", "cp2_c0ffee", false, nil, 0},
		{"a node whose name begins the same", "cp10_c0ffee", false, nil, 0},
		{"nobody", "", false, nil, 0},
		{"taken over meanwhile", "cp1_c0ffee", true, func(s *leaseServer) { s.hold("cp2_abc") }, 0},
		{"taken over by our own successor", "cp1_c0ffee", true, func(s *leaseServer) { s.hold("cp1_abc") }, 0},
		{"taken over at the last moment", "cp1_c0ffee", true, func(s *leaseServer) { s.between = func() { s.hold("cp2_abc") } }, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, lease := newLease(t, tt.holder)
			if leads, err := lease.Hold(t.Context()); leads != tt.leads || err != nil {
				t.Fatalf("leads %t, %v", leads, err)
			}
			if tt.after != nil {
				tt.after(s)
			}
			if released, err := lease.Release(t.Context()); released || err != nil || s.puts != tt.puts {
				t.Errorf("released %t, %v, %d writes", released, err, s.puts)
			}
			if holder := s.lease["spec"].(map[string]any)["holderIdentity"]; tt.holder != "" && holder == "" {
				t.Error("the lease has no holder any more")
			}
		})
	}
}

// A host that does not know its name takes nobody for itself.
func TestLeaderLeaseWithoutAName(t *testing.T) {
	_, lease := newLease(t, "_c0ffee")
	lease.Node = ""
	if leads, err := lease.Hold(t.Context()); leads || err != nil {
		t.Errorf("leads %t, %v", leads, err)
	}
}

func TestLeaderLeaseRefused(t *testing.T) {
	s, lease := newLease(t, "cp1_c0ffee")
	s.status = http.StatusForbidden
	if leads, err := lease.Hold(t.Context()); leads || err == nil || !strings.Contains(err.Error(), "lease of kube-scheduler") {
		t.Errorf("leads %t, %v", leads, err)
	}
	if released, err := lease.Release(t.Context()); released || err != nil {
		t.Errorf("released %t, %v; want nothing to release", released, err)
	}
}
