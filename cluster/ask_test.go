package cluster_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/cluster"
)

// servers are API servers of one cluster: they are who the same kubeconfig names.
type servers struct {
	mu    sync.Mutex
	asked []string // who, in order
	list  map[string]*httptest.Server
}

// heard are those that were asked so far, in order.
func (s *servers) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// newServers starts a server for each name, which answers as its name says.
func newServers(t *testing.T, names ...string) *servers {
	t.Helper()
	s := &servers{list: map[string]*httptest.Server{}}
	release := make(chan struct{})
	for _, name := range names {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			s.asked = append(s.asked, name)
			s.mu.Unlock()
			w.Header().Set("Content-Type", "application/json")
			switch kind, _, _ := strings.Cut(name, "-"); kind {
			case "good":
				fmt.Fprintf(w, configMap, `"ClusterConfiguration":"x"`)
			case "hangs":
				select {
				case <-release:
				case <-r.Context().Done():
				}
			case "starting":
				w.WriteHeader(http.StatusInternalServerError)
			case "busy":
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusTooManyRequests)
			case "refuses":
				w.WriteHeader(http.StatusUnauthorized)
				fmt.Fprint(w, unbelieved)
			case "absent":
				w.WriteHeader(http.StatusNotFound)
				fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","code":404,"message":"configmaps \"kubeadm-config\" not found"}`)
			}
		}))
		t.Cleanup(server.Close)
		s.list[name] = server
	}
	t.Cleanup(func() { close(release) }) // before the servers wait for their handlers
	return s
}

// address is that of a server, or one that nobody listens on.
func (s *servers) address(t *testing.T, name string) string {
	t.Helper()
	if server := s.list[name]; server != nil {
		return server.Listener.Addr().String()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// Any server of the cluster will do; the nearest is asked first, and one that has not
// answered is not asked again with other credentials.
func TestServersInOrder(t *testing.T) {
	tests := []struct {
		name       string
		own, named string
		others     []string
		asked      []string
		err        string
	}{
		{"the own one", "good-1", "good-2", []string{"good-3"}, []string{"good-1"}, ""},
		{"it is down", "down", "good-2", []string{"good-3"}, []string{"good-2"}, ""},
		{"it is starting", "starting-1", "good-2", nil, []string{"starting-1", "good-2"}, ""},
		{"it has too much to do", "busy-1", "good-2", nil, []string{"busy-1", "good-2"}, ""},
		{"it hangs", "hangs-1", "good-2", nil, []string{"hangs-1", "good-2"}, ""},
		{"so does the load balancer", "hangs-1", "hangs-2", []string{"good-3"}, []string{"hangs-1", "hangs-2", "good-3"}, ""},
		{"nothing is known of an own one", "", "down", []string{"down-2", "good-3"}, []string{"good-3"}, ""},
		{"an answer is an answer", "absent-1", "good-2", nil, []string{"absent-1"}, `404 Not Found: configmaps "kubeadm-config" not found`},
		{"refused: with the next credentials", "refuses-1", "good-2", nil, []string{"refuses-1", "refuses-1"}, "refused the credentials of"},
		{"the same server under two names", "down", "starting-2", []string{"starting-2"}, []string{"starting-2"}, "500"},
		{"all are away", "down", "down-2", []string{"starting-3"}, []string{"starting-3"}, "could not be asked"},
		{"all hang", "hangs-1", "hangs-2", []string{"hangs-3"}, []string{"hangs-1", "hangs-2", "hangs-3"}, "deadline exceeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var up []string
			for _, name := range append([]string{"good-0", tt.own, tt.named}, tt.others...) {
				if name != "" && !strings.HasPrefix(name, "down") && !slices.Contains(up, name) {
					up = append(up, name)
				}
			}
			s := newServers(t, up...)
			api := cluster.API{}
			file := kubeconfig(t, s.list["good-0"], "https://"+s.address(t, tt.named))
			api.Kubeconfigs = []string{file, file}
			if tt.own != "" {
				api.Address = s.address(t, tt.own)
			}
			for _, other := range tt.others {
				api.Others = append(api.Others, s.address(t, other))
			}
			began := time.Now()
			got, err := api.Configuration(t.Context())
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if err == nil && string(got) != "x" {
				t.Errorf("configuration %q", got)
			}
			if got := s.heard(); !slices.Equal(got, tt.asked) {
				t.Errorf("asked %v, want %v", got, tt.asked)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// What is asked of the own API server to learn something of it is asked of no other.
func TestOwnServerOnly(t *testing.T) {
	s := newServers(t, "starting-1", "good-2", "good-3")
	api := cluster.API{Kubeconfigs: []string{kubeconfig(t, s.list["good-2"], s.list["good-2"].URL)},
		Address: s.address(t, "starting-1"), Others: []string{s.address(t, "good-3")}}
	if _, err := api.UseEtcd(t.Context()); err == nil || !slices.Equal(s.heard(), []string{"starting-1"}) {
		t.Errorf("asked %v: %v", s.heard(), err)
	}
}

// The lease of a leader is released through another API server when the own one is away.
func TestLeaderLeaseThroughAnother(t *testing.T) {
	s, lease := newLease(t, "cp1_c0ffee")
	lease.Address = (&servers{}).address(t, "down")
	if leads, err := lease.Hold(t.Context()); !leads || err != nil {
		t.Fatalf("leads %t, %v", leads, err)
	}
	if released, err := lease.Release(t.Context()); !released || err != nil || s.puts != 1 {
		t.Errorf("released %t, %v, %d writes", released, err, s.puts)
	}
}
