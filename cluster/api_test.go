package cluster_test

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/cluster"
)

// apiServer answers as kube-apiserver does for kubeadm-config, on TLS.
func apiServer(t *testing.T, status int, body string) *httptest.Server {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces/kube-system/configmaps/kubeadm-config" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return server
}

// kubeconfig writes one whose server is the given URL and whose CA is the test
// server's.
func kubeconfig(t *testing.T, server *httptest.Server, url string) string {
	t.Helper()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	path := filepath.Join(t.TempDir(), "admin.conf")
	content := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
users: [{name: u, user: {token: t}}]
`, url, base64.StdEncoding.EncodeToString(ca))
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const configMap = `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"kubeadm-config"},"data":{%s}}`

func TestConfiguration(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		want   string
		err    string
	}{
		{"as kubeadm stores it", 200, fmt.Sprintf(configMap, `"ClusterConfiguration":"kind: ClusterConfiguration\n"`), "kind: ClusterConfiguration\n", ""},
		{"without the key", 200, fmt.Sprintf(configMap, `"other":""`), "", "was this cluster made by kubeadm?"},
		{"refused", 401, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","code":401}`, "", "refused the credentials of"},
		{"absent", 404, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","message":"configmaps \"kubeadm-config\" not found","code":404}`, "", "not found"},
		{"no JSON", 200, `<html>`, "", "kubeadm-config could not be read"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := apiServer(t, tt.status, tt.body)
			path := kubeconfig(t, server, server.URL)
			got, err := cluster.API{Kubeconfigs: []string{path}}.Configuration(t.Context())
			if string(got) != tt.want {
				t.Errorf("configuration %q, want %q", got, tt.want)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

// The node's own API server is asked, whoever the kubeconfig names, and must prove
// to be who the kubeconfig names.
func TestConfigurationFromTheOwnAddress(t *testing.T) {
	server := apiServer(t, 200, fmt.Sprintf(configMap, `"ClusterConfiguration":"x"`))
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", port)
	ours := kubeconfig(t, server, "https://example.com:6443") // a name of httptest's certificate
	if _, err := (cluster.API{Kubeconfigs: []string{ours}, Address: address}).Configuration(t.Context()); err != nil {
		t.Errorf("a load balancer's name: %v", err)
	}
	foreign := kubeconfig(t, server, "https://not-in-the-certificate:6443")
	if _, err := (cluster.API{Kubeconfigs: []string{foreign}, Address: address}).Configuration(t.Context()); err == nil || !strings.Contains(err.Error(), "not-in-the-certificate") {
		t.Errorf("a server that is not the kubeconfig's: %v; want it refused by name", err)
	}
}

func TestConfigurationTriesKubeconfigsInOrder(t *testing.T) {
	server := apiServer(t, 200, fmt.Sprintf(configMap, `"ClusterConfiguration":"x"`))
	good := kubeconfig(t, server, server.URL)
	empty := filepath.Join(t.TempDir(), "empty.conf")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing.conf")
	if _, err := (cluster.API{Kubeconfigs: []string{missing, empty, good}}).Configuration(t.Context()); err != nil {
		t.Errorf("with a good one last: %v", err)
	}
	// One whose credentials are refused is no reason not to try the next.
	refusing := apiServer(t, 403, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`)
	if _, err := (cluster.API{Kubeconfigs: []string{kubeconfig(t, refusing, refusing.URL), good}}).Configuration(t.Context()); err != nil {
		t.Errorf("with a refused one first: %v", err)
	}
	_, err := cluster.API{Kubeconfigs: []string{missing, empty}}.Configuration(t.Context())
	if err == nil || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), empty) {
		t.Errorf("error %v does not name both files", err)
	}
}

// An idle connection is one that is pinged every 30 seconds until the next look.
func TestNoConnectionIsKept(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, configMap, `"ClusterConfiguration":"kind: ClusterConfiguration\n"`)
	}))
	closed := make(chan struct{}, 1)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	if _, err := (cluster.API{Kubeconfigs: []string{kubeconfig(t, server, server.URL)}}).Configuration(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the connection is still open")
	}
}
