package runtime_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/runtime"
)

// component serves what a component's health endpoint would say.
func component(t *testing.T, secure bool, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func TestHealthy(t *testing.T) {
	const readyz = "[+]ping ok\n[-]etcd failed: reason withheld\n[+]log ok\n[-]poststarthook/rbac failed: reason withheld\nreadyz check failed\n"
	tests := []struct {
		name string
		code int
		body string
		want string // after "GET URL: "; empty for healthy
	}{
		{"ok", 200, "ok", ""},
		{"only the checks that fail", 500, readyz, "500 Internal Server Error: [-]etcd failed: reason withheld, [-]poststarthook/rbac failed: reason withheld"},
		{"anything else on one line", 503, "a\n  b\n", "503 Service Unavailable: a b"},
		{"no words", 404, "", "404 Not Found: no reason given"},
		{"many words", 500, strings.Repeat("ä", 400), "500 Internal Server Error: " + strings.Repeat("ä", 150) + "…"},
		{"a stranger is refused", 401, "Unauthorized", "401 Unauthorized: Unauthorized"},
		{"moved", 301, "elsewhere", "301 Moved Permanently: elsewhere"},
	}
	for _, tt := range tests {
		for _, secure := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				s := component(t, secure, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", "/")
					w.WriteHeader(tt.code)
					_, _ = io.WriteString(w, tt.body)
				})
				err := runtime.Healthy(t.Context(), runtime.Check{Component: "kube-apiserver", URL: s.URL + "/readyz"})
				switch {
				case tt.want == "" && err != nil:
					t.Error(err)
				case tt.want != "" && (err == nil || err.Error() != "GET "+s.URL+"/readyz: "+tt.want):
					t.Errorf("error\n%v, want\nGET %s/readyz: %s", err, s.URL, tt.want)
				}
			})
		}
	}
}

// A cluster without anonymous authentication refuses strangers even here.
func TestHealthyWithClientCertificate(t *testing.T) {
	for _, code := range []int{401, 403} {
		var asked atomic.Int32
		s := component(t, true, func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if len(r.TLS.PeerCertificates) == 0 {
				w.WriteHeader(code)
			}
		})
		certificate := s.TLS.Certificates[0]
		check := runtime.Check{Component: "kube-apiserver", URL: s.URL,
			ClientCertificate: func() (*tls.Certificate, error) { return &certificate, nil }}
		if err := runtime.Healthy(t.Context(), check); err != nil || asked.Load() != 2 {
			t.Errorf("after %d: %v, asked %d times, want twice", code, err, asked.Load())
		}
		check.ClientCertificate = func() (*tls.Certificate, error) { return nil, errors.New("admin.conf is missing") }
		if err := runtime.Healthy(t.Context(), check); err == nil || !strings.Contains(err.Error(), "admin.conf is missing") {
			t.Errorf("error %v, want one that says why there is no certificate", err)
		}
	}
}

func TestHealthyTimeout(t *testing.T) {
	release := make(chan struct{})
	s := component(t, false, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	began := time.Now()
	err := runtime.Healthy(t.Context(), runtime.Check{URL: s.URL})
	if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 3*time.Second {
		t.Errorf("after %s: %v", took, err)
	}
	if want := "GET " + s.URL + ": no answer within 1s: context deadline exceeded"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestAwait(t *testing.T) {
	var asked atomic.Int32
	remotes := make(chan string, 10)
	s := component(t, true, func(w http.ResponseWriter, r *http.Request) {
		remotes <- r.RemoteAddr
		if asked.Add(1) < 4 {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "[-]etcd failed: reason withheld")
		}
	})
	var said []string
	err := runtime.Await(t.Context(), runtime.Check{Component: "kube-apiserver", URL: s.URL}, time.Millisecond, func(text string) { said = append(said, text) })
	if err != nil {
		t.Fatal(err)
	}
	bad := "GET " + s.URL + ": 500 Internal Server Error: [-]etcd failed: reason withheld"
	if diff := cmp.Diff([]string{bad, bad, bad}, said); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	// Each on a connection of its own.
	seen := map[string]bool{}
	for range 4 {
		seen[<-remotes] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d connections for 4 questions", len(seen))
	}
}

func TestAwaitDeadline(t *testing.T) {
	s := component(t, false, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := runtime.Await(ctx, runtime.Check{Component: "etcd", URL: s.URL}, 10*time.Millisecond, nil)
	want := "etcd is not healthy after 200ms: GET " + s.URL + ": 503 Service Unavailable: no reason given"
	if err == nil || err.Error() != want {
		t.Errorf("error\n%v, want\n%s", err, want)
	}
	url := s.URL
	s.Close()
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := runtime.Await(ctx, runtime.Check{Component: "etcd", URL: url}, 10*time.Millisecond, nil); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error %v, want the refused connection", err)
	}
}
