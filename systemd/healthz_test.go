package systemd_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kubecertd/kubecertd/systemd"
)

func TestHealthz(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bad":
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "[-]syncloop failed:\n reason withheld")
		case "/hangs":
			<-release
		}
	}))
	defer s.Close()
	defer close(release)
	if err := systemd.Healthz(t.Context(), s.URL+"/healthz"); err != nil {
		t.Error(err)
	}
	if err := systemd.Healthz(t.Context(), s.URL+"/bad"); err == nil || err.Error() != "GET "+s.URL+"/bad: 500 Internal Server Error: [-]syncloop failed: reason withheld" {
		t.Errorf("error %v", err)
	}
	if err := systemd.Healthz(t.Context(), s.URL+"/hangs"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 1s") {
		t.Errorf("error %v", err)
	}
	if err := systemd.Healthz(t.Context(), "http://127.0.0.1:1/healthz"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error %v", err)
	}
	if err := systemd.Healthz(t.Context(), ":"); err == nil {
		t.Error("no error for what is no address")
	}
}
