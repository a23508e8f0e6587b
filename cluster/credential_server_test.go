package cluster_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// component is a server with the manners of Kubernetes': it asks for a client
// certificate, verifies it itself, and answers 401 to a wrong one.
type component struct {
	*httptest.Server
	address string
	mu      sync.Mutex
	asked   []string // "user path", one for each request
}

func serveComponent(t *testing.T, serving tls.Certificate, clients *x509.CertPool, handle func(w http.ResponseWriter, r *http.Request, user string)) *component {
	t.Helper()
	c := &component{}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := "system:anonymous"
		if len(r.TLS.PeerCertificates) > 0 {
			leaf := r.TLS.PeerCertificates[0]
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: clients, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			user = leaf.Subject.CommonName
		}
		c.mu.Lock()
		c.asked = append(c.asked, user+" "+r.URL.Path)
		c.mu.Unlock()
		handle(w, r, user)
	}))
	// A CA that signed none of the certificates, as every server names some. A client
	// that only shows what the server names would show nothing.
	c.TLS = &tls.Config{Certificates: []tls.Certificate{serving}, ClientAuth: tls.RequestClientCert, ClientCAs: newAuthority(t, "other").pool}
	c.Config.ErrorLog = quiet
	c.StartTLS()
	t.Cleanup(c.Close)
	c.address = c.Listener.Addr().String()
	return c
}

// review answers a SelfSubjectReview as kube-apiserver of 1.28 does.
func review(w http.ResponseWriter, r *http.Request, user string) {
	if forwarded := r.Header.Get("X-Remote-User"); forwarded != "" && user == "front-proxy-client" {
		user = forwarded
	}
	body, _ := io.ReadAll(r.Body)
	if r.Method != http.MethodPost || r.URL.Path != "/apis/authentication.k8s.io/v1/selfsubjectreviews" || !strings.Contains(string(body), `"authentication.k8s.io/v1"`) {
		http.NotFound(w, r)
		return
	}
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"kind":"SelfSubjectReview","status":{"userInfo":{"username":%q}}}`, user)
}

// certificateKubeconfig writes a kubeconfig that names the files of a pair.
func certificateKubeconfig(t *testing.T, server, ca, certificate, key string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin.conf")
	content := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
users: [{name: u, user: {client-certificate: %q, client-key: %q}}]
`, server, ca, certificate, key)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

type maintenance struct {
	etcdserverpb.UnimplementedMaintenanceServer
	answer func() error
}

func (m maintenance) Status(context.Context, *etcdserverpb.StatusRequest) (*etcdserverpb.StatusResponse, error) {
	if m.answer != nil {
		if err := m.answer(); err != nil {
			return nil, err
		}
	}
	return &etcdserverpb.StatusResponse{Version: "3.6.8"}, nil
}

// serveEtcd is as much of a member as is asked here: gRPC behind TLS that demands a
// certificate of the CA. It returns its address.
func serveEtcd(t *testing.T, ca *authority, version uint16, answer func() error) string {
	t.Helper()
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{ca.serving(t)},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool, MinVersion: version, MaxVersion: version})))
	etcdserverpb.RegisterMaintenanceServer(server, maintenance{answer: answer})
	listener := listen(t)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}
