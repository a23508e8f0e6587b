package cluster_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kubecertd/kubecertd/cluster"
)

// verdict is what an error of a trial means.
func verdict(err error) string {
	var refused *cluster.RefusedError
	switch {
	case err == nil:
		return "accepted"
	case errors.As(err, &refused):
		return "refused"
	}
	return "untried"
}

func TestTryCertificates(t *testing.T) {
	ca, foreign := newAuthority(t, "kubernetes"), newAuthority(t, "foreign")
	front := newAuthority(t, "front-proxy-ca")
	both := x509.NewCertPool()
	both.AddCert(ca.leaf)
	both.AddCert(front.leaf)
	api := serveComponent(t, ca.serving(t), both, review)
	kubelet := serveComponent(t, foreign.serving(t), ca.pool, func(w http.ResponseWriter, r *http.Request, _ string) {
		if r.URL.Path != "/healthz" || r.Method != http.MethodGet {
			http.NotFound(w, r)
		}
	})
	member := serveEtcd(t, ca, 0, nil)
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for _, tt := range []struct {
		name    string
		signer  *authority
		end     time.Time
		want    string
		etcdErr string
	}{
		{"of the CA", ca, later, "accepted", ""},
		{"of a foreign CA", foreign, later, "refused", "unknown certificate authority"},
		{"expired", ca, before, "refused", "expired certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			certificate, key := tt.signer.client(t, "kubernetes-admin", tt.end)
			named := certificateKubeconfig(t, "https://kubernetes.local:6443", ca.file, certificate, key)
			proxyBy := tt.signer
			if proxyBy == ca {
				proxyBy = front
			}
			proxyCertificate, proxyKey := proxyBy.client(t, "front-proxy-client", tt.end)
			etcd := cluster.Etcd{Endpoint: "https://" + member, Certificate: certificate, Key: key, CA: ca.file}
			for what, c := range map[string]struct {
				err          error
				server, said string
			}{
				"kubeconfig":  {cluster.TryKubeconfig(t.Context(), named, api.address), "the API server at " + api.address, "401 Unauthorized"},
				"kubelet":     {cluster.TryKubelet(t.Context(), kubelet.address, certificate, key), "the kubelet at " + kubelet.address, "401 Unauthorized"},
				"front proxy": {cluster.TryFrontProxy(t.Context(), api.address, "kubernetes.local", ca.file, proxyCertificate, proxyKey), "the API server at " + api.address, "401 Unauthorized"},
				"etcd":        {etcd.Try(t.Context()), "etcd at " + member, tt.etcdErr},
			} {
				if got := verdict(c.err); got != tt.want {
					t.Errorf("%s: %s (%v), want it %s", what, got, c.err, tt.want)
					continue
				}
				var refused *cluster.RefusedError
				if errors.As(c.err, &refused) && (refused.Server != c.server || !strings.HasPrefix(c.err.Error(), c.server+" refused the credential: ") || !strings.Contains(c.err.Error(), c.said)) {
					t.Errorf("%s: %v of server %q, want %q and %q", what, c.err, refused.Server, c.server, c.said)
				}
			}
		})
	}
	if api.asked[0] != "kubernetes-admin /apis/authentication.k8s.io/v1/selfsubjectreviews" {
		t.Errorf("asked: %v", api.asked)
	}
}

// A certificate of the cluster's CA is not one of the front proxy, although the
// server knows it.
func TestTryFrontProxyWithAnotherCA(t *testing.T) {
	ca := newAuthority(t, "kubernetes")
	api := serveComponent(t, ca.serving(t), ca.pool, review)
	certificate, key := ca.client(t, "kubernetes-admin", time.Now().Add(time.Hour))
	err := cluster.TryFrontProxy(t.Context(), api.address, "kubernetes.local", ca.file, certificate, key)
	if verdict(err) != "refused" || !strings.Contains(err.Error(), `taken for the user "kubernetes-admin"`) {
		t.Errorf("error %v, want it refused", err)
	}
}

func TestTryKubeconfigAnswers(t *testing.T) {
	ca := newAuthority(t, "kubernetes")
	certificate, key := ca.client(t, "node", time.Now().Add(time.Hour))
	forbidden := func(user string) string {
		return fmt.Sprintf(`{"kind":"Status","status":"Failure","message":"selfsubjectreviews is forbidden: User \"%s\" cannot create","code":403}`, user)
	}
	for _, tt := range []struct {
		name    string
		answers []string // "code body", by version
		want    string
		asked   int
	}{
		{"of 1.28", []string{`201 {"status":{"userInfo":{"username":"node"}}}`}, "accepted", 1},
		{"of 1.27", []string{"404 ", `201 {"status":{"userInfo":{"username":"node"}}}`}, "accepted", 2},
		{"of 1.26", []string{"404 ", "404 ", `201 {"status":{"userInfo":{"username":"node"}}}`}, "accepted", 3},
		{"of 1.25", []string{`404 {"kind":"Status","status":"Failure"}`, "404 ", "404 "}, "accepted", 3},
		{"refused by an old one", []string{"404 ", "401 "}, "refused", 2},
		{"forbidden to somebody", []string{"403 " + forbidden("node")}, "accepted", 1},
		{"forbidden to a stranger", []string{"403 " + forbidden("system:anonymous")}, "refused", 1},
		{"a stranger", []string{`201 {"status":{"userInfo":{"username":"system:anonymous"}}}`}, "refused", 1},
		{"too many requests", []string{"429 "}, "untried", 1},
		{"broken", []string{"500 "}, "untried", 1},
		{"starting", []string{"503 "}, "untried", 1},
		{"elsewhere", []string{"307 "}, "untried", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var paths []string
			api := serveComponent(t, ca.serving(t), ca.pool, func(w http.ResponseWriter, r *http.Request, _ string) {
				paths = append(paths, r.URL.Path)
				code, body, _ := strings.Cut(tt.answers[len(paths)-1], " ")
				var number int
				fmt.Sscan(code, &number) //nolint:errcheck // a number of the table
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(number)
				fmt.Fprint(w, body)
			})
			err := cluster.TryKubeconfig(t.Context(), certificateKubeconfig(t, api.URL, ca.file, certificate, key), "")
			if got := verdict(err); got != tt.want {
				t.Errorf("%s (%v), want it %s", got, err, tt.want)
			}
			all := []string{"/apis/authentication.k8s.io/v1/selfsubjectreviews", "/apis/authentication.k8s.io/v1beta1/selfsubjectreviews", "/apis/authentication.k8s.io/v1alpha1/selfsubjectreviews"}
			if got, want := fmt.Sprint(paths), fmt.Sprint(all[:tt.asked]); got != want {
				t.Errorf("asked %s, want %s", got, want)
			}
		})
	}
}

// The kubelet authorizes too: 403 is said to somebody it knows.
func TestTryKubeletForbidden(t *testing.T) {
	ca := newAuthority(t, "kubernetes")
	for code, want := range map[int]string{200: "accepted", 403: "accepted", 401: "refused", 500: "untried"} {
		kubelet := serveComponent(t, ca.serving(t), ca.pool, func(w http.ResponseWriter, _ *http.Request, _ string) { w.WriteHeader(code) })
		certificate, key := ca.client(t, "node", time.Now().Add(time.Hour))
		if err := cluster.TryKubelet(t.Context(), kubelet.address, certificate, key); verdict(err) != want {
			t.Errorf("%d: %v, want it %s", code, err, want)
		}
	}
}

// The server turns the certificate down by an alert. With TLS 1.3 that comes after
// the client's handshake, to the first read or in the middle of a write; however often
// it is tried, it is seen.
func TestTryAlerts(t *testing.T) {
	ca, foreign := newAuthority(t, "kubernetes"), newAuthority(t, "foreign")
	certificate, key := foreign.client(t, "kubernetes-admin", time.Now().Add(time.Hour))
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.serving(t)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool, MinVersion: version, MaxVersion: version}
			server.Config.ErrorLog = quiet
			server.StartTLS()
			defer server.Close()
			named := certificateKubeconfig(t, server.URL, ca.file, certificate, key)
			member := cluster.Etcd{Endpoint: "https://" + serveEtcd(t, ca, version, nil), Certificate: certificate, Key: key, CA: ca.file}
			for i := range 50 {
				if err := cluster.TryKubeconfig(t.Context(), named, ""); verdict(err) != "refused" || !strings.Contains(err.Error(), "tls: unknown certificate authority") {
					t.Fatalf("kubeconfig, time %d: %v, want it refused by an alert", i, err)
				}
				if err := member.Try(t.Context()); verdict(err) != "refused" || !strings.Contains(err.Error(), "tls: unknown certificate authority") {
					t.Fatalf("etcd, time %d: %v, want it refused by an alert", i, err)
				}
			}
		})
	}
}

// What goes wrong on the way or on the other side is not the credential's fault.
func TestTryUnreachable(t *testing.T) {
	ca, foreign := newAuthority(t, "kubernetes"), newAuthority(t, "foreign")
	certificate, key := ca.client(t, "kubernetes-admin", time.Now().Add(time.Hour))
	closed := listen(t)
	_ = closed.Close()
	hole := listen(t) // takes connections and never says a word
	mute := listen(t)
	go func() {
		for {
			conn, err := mute.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	stranger := serveComponent(t, foreign.serving(t), ca.pool, review)
	strangeEtcd := serveEtcd(t, foreign, 0, nil)
	for _, tt := range []struct{ name, address, said string }{
		{"refused", closed.Addr().String(), "connection refused"},
		{"black hole", hole.Addr().String(), "deadline exceeded"},
		{"closed at once", mute.Addr().String(), ""},
		{"another server", stranger.address, "certificate signed by unknown authority"},
		{"another name", "localhost.invalid:6443", "localhost.invalid"},
	} {
		for what, try := range map[string]func() error{
			"kubeconfig": func() error {
				return cluster.TryKubeconfig(t.Context(), certificateKubeconfig(t, "https://kubernetes.local", ca.file, certificate, key), tt.address)
			},
			"kubelet": func() error { return cluster.TryKubelet(t.Context(), tt.address, certificate, key) },
			"front proxy": func() error {
				return cluster.TryFrontProxy(t.Context(), tt.address, "kubernetes.local", ca.file, certificate, key)
			},
			"etcd": func() error {
				address := strings.Replace(tt.address, stranger.address, strangeEtcd, 1)
				return cluster.Etcd{Endpoint: "https://" + address, Certificate: certificate, Key: key, CA: ca.file}.Try(t.Context())
			},
		} {
			if what == "kubelet" && tt.address == stranger.address {
				continue // is not verified
			}
			t.Run(tt.name+", "+what, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				err := try()
				if verdict(err) != "untried" || !strings.Contains(err.Error(), "could not be tried") || !strings.Contains(strings.ToLower(err.Error()), tt.said) {
					t.Errorf("error %v, want it untried and %q", err, tt.said)
				}
				if took := time.Since(began); took > 3500*time.Millisecond {
					t.Errorf("it took %s, want 3s at most", took)
				}
			})
		}
	}
}

// A credential that cannot be shown is no good, whatever runs.
func TestTryUnusable(t *testing.T) {
	ca := newAuthority(t, "kubernetes")
	certificate, _ := ca.client(t, "one", time.Now().Add(time.Hour))
	_, key := ca.client(t, "two", time.Now().Add(time.Hour))
	missing := filepath.Join(t.TempDir(), "missing")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const address = "127.0.0.1:1"
	for what, err := range map[string]error{
		"key of another":            cluster.TryKubelet(t.Context(), address, certificate, key),
		"missing certificate":       cluster.TryKubelet(t.Context(), address, missing, key),
		"empty key":                 cluster.TryFrontProxy(t.Context(), address, "x", ca.file, certificate, empty),
		"etcd's":                    cluster.Etcd{Endpoint: "https://" + address, Certificate: certificate, Key: key, CA: ca.file}.Try(t.Context()),
		"missing kubeconfig":        cluster.TryKubeconfig(t.Context(), missing, address),
		"empty kubeconfig":          cluster.TryKubeconfig(t.Context(), empty, address),
		"kubeconfig of another key": cluster.TryKubeconfig(t.Context(), certificateKubeconfig(t, "https://x", ca.file, certificate, key), address),
		"kubeconfig of no key":      cluster.TryKubeconfig(t.Context(), certificateKubeconfig(t, "https://x", ca.file, certificate, missing), address),
	} {
		var refused *cluster.RefusedError
		if !errors.As(err, &refused) || refused.Server != "" || !strings.HasPrefix(err.Error(), "the credential cannot be used: ") {
			t.Errorf("%s: %v, want it of no use", what, err)
		}
	}
	// The CA is not part of the credential.
	good, goodKey := ca.client(t, "three", time.Now().Add(time.Hour))
	for what, err := range map[string]error{
		"etcd":        cluster.Etcd{Endpoint: "https://" + address, Certificate: good, Key: goodKey, CA: missing}.Try(t.Context()),
		"front proxy": cluster.TryFrontProxy(t.Context(), address, "x", empty, good, goodKey),
	} {
		if verdict(err) != "untried" {
			t.Errorf("%s without a CA: %v, want it untried", what, err)
		}
	}
}

func TestTryEtcdAnswers(t *testing.T) {
	ca := newAuthority(t, "etcd-ca")
	certificate, key := ca.client(t, "kube-etcd-healthcheck-client", time.Now().Add(time.Hour))
	for code, want := range map[codes.Code]string{codes.OK: "accepted", codes.Unauthenticated: "refused", codes.PermissionDenied: "refused",
		codes.Unavailable: "untried", codes.Internal: "untried"} {
		address := serveEtcd(t, ca, 0, func() error { return status.Error(code, "of the test") })
		err := cluster.Etcd{Endpoint: "https://" + address, Certificate: certificate, Key: key, CA: ca.file}.Try(t.Context())
		if got := verdict(err); got != want {
			t.Errorf("%s: %s (%v), want it %s", code, got, err, want)
		}
	}
}

// quiet takes what servers say of the handshakes that fail on purpose.
var quiet = log.New(io.Discard, "", 0)
