package renew_test

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/cluster"
	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// What a control-plane node asks of the API server, in requests. That a component which
// was restarted is asked for its health comes on top, of that node's own alone.
const (
	requestsPerLook = 2  // with nothing to do
	requestsPerGate = 5  // of a look with something to do: the same, and who else takes nodes down
	requestsPerRun  = 12 // besides the look before it
)

// counted is the API as a node has it, with a server that counts.
type counted struct {
	cluster.API
	mu    sync.Mutex
	asked map[string]int
}

func newCounted(t *testing.T) *counted {
	t.Helper()
	c := &counted{asked: map[string]int{}}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.asked[r.Method+" "+r.URL.Path]++
		c.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/api/v1/namespaces/kube-system/configmaps/kubeadm-config":
			fmt.Fprint(w, `{"data":{"ClusterConfiguration":"apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.36.3\nencryptionAlgorithm: ECDSA-P256\n"}}`)
		case leases + "kube-controller-manager", leases + "kube-scheduler":
			fmt.Fprint(w, `{"metadata":{"resourceVersion":"1"},"spec":{"holderIdentity":"cp1_c0ffee"}}`)
		case review:
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"kind":"SelfSubjectReview","status":{"userInfo":{"username":"someone"}}}`)
		default:
			fmt.Fprint(w, `{}`)
		}
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "admin.conf")
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	if err := os.WriteFile(file, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
users: [{name: u, user: {token: t}}]
`, server.URL, ca), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Kubeconfigs = []string{file}
	return c
}

const (
	leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/"
	review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
)

func (c *counted) Neighbours(ctx context.Context) (renew.Neighbours, error) {
	_, err := c.API.Neighbours(ctx, "kube-system/kured")
	return renew.Neighbours{}, err
}

func (c *counted) Hold(ctx context.Context, component string) (func(context.Context) (bool, error), error) {
	lease := &cluster.LeaderLease{API: c.API, Component: component, Node: "cp1"}
	_, err := lease.Hold(ctx)
	return lease.Release, err
}

func (c *counted) Try(ctx context.Context, certificate pki.Certificate) (bool, error) {
	if certificate.Kind != pki.Kubeconfig {
		return false, nil
	}
	return false, cluster.TryKubeconfig(ctx, c.Kubeconfigs[0], "")
}

// since is what was asked from the last time on.
func (c *counted) since() (all map[string]int, total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all = c.asked
	c.asked = map[string]int{}
	for _, n := range all {
		total += n
	}
	return all, total
}

// The numbers that the year is counted with are those of what is really asked.
func TestRequests(t *testing.T) {
	n := newFakeNode(t)
	api := newCounted(t)
	n.Cluster, n.APIServers, n.Neighbours, n.Leases, n.Credentials = api, api, api, api, api

	if err := n.Remember(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked, total := api.since()
	if total != requestsPerLook {
		t.Errorf("a look with nothing to do: %v, want %d", asked, requestsPerLook)
	}
	if plan := n.Look(t.Context(), renew.Wish{}).Plan; len(plan.Blocked) > 0 || !plan.Work() {
		t.Fatalf("blocked by %v", plan.Blocked)
	}
	if asked, total = api.since(); total != requestsPerGate {
		t.Errorf("a look with something to do: %v, want %d", asked, requestsPerGate)
	}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "test"); err != nil {
		t.Fatal(err)
	}
	asked, total = api.since()
	want := map[string]int{
		"GET /api/v1/nodes": 1, // the look before it
		"GET /api/v1/namespaces/kube-system/configmaps/kubeadm-config":               1,
		"GET /apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes": 1,
		"GET /api/v1/namespaces/kube-system/pods":                                    1,
		"GET /apis/apps/v1/namespaces/kube-system/daemonsets/kured":                  1,
		"PATCH /api/v1/nodes/cp1":                                                    2, // marked, and no longer
		"POST " + review:                                                             4, // one for each kubeconfig
		"GET " + leases + "kube-controller-manager":                                  2,
		"PUT " + leases + "kube-controller-manager":                                  1,
		"GET " + leases + "kube-scheduler":                                           2,
		"PUT " + leases + "kube-scheduler":                                           1,
	}
	if diff := cmp.Diff(want, asked); diff != "" || total != requestsPerGate+requestsPerRun {
		t.Errorf("a run: %d requests, want %d (-want +got)\n%s", total, requestsPerGate+requestsPerRun, diff)
	}
}
