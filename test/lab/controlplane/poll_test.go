//go:build linux

package controlplane_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

func TestPollAPIReportsWindows(t *testing.T) {
	var away atomic.Bool
	var asked, paths atomic.Int64
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/readyz" {
			paths.Add(1)
		}
		if away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	waitFor := func(probes int64) {
		t.Helper()
		for end, limit := asked.Load()+probes, time.Now().Add(10*time.Second); asked.Load() < end; {
			if time.Now().After(limit) {
				t.Fatal("the poll has stopped asking")
			}
			<-time.After(time.Millisecond)
		}
	}

	poll := controlplane.PollAPI(t.Context(), strings.TrimPrefix(server.URL, "https://"), time.Millisecond, time.Second)
	waitFor(3)
	for range 2 {
		away.Store(true)
		waitFor(5)
		away.Store(false)
		waitFor(3)
	}
	got := poll.Stop()
	stopped := asked.Load()

	if len(got.Windows) != 2 {
		t.Fatalf("%d windows, want 2: %s", len(got.Windows), got)
	}
	for _, w := range got.Windows {
		if !w.Start.Before(w.End) {
			t.Errorf("window from %s to %s", w.Start, w.End)
		}
	}
	if got.Windows[0].End.After(got.Windows[1].Start) {
		t.Error("the windows overlap")
	}
	if sum := got.Windows[0].Duration() + got.Windows[1].Duration(); got.Total() != sum {
		t.Errorf("total = %s, want %s", got.Total(), sum)
	}
	if longest := max(got.Windows[0].Duration(), got.Windows[1].Duration()); got.Longest() != longest {
		t.Errorf("longest = %s, want %s", got.Longest(), longest)
	}
	if paths.Load() != stopped {
		t.Errorf("%d of %d probes asked for /readyz", paths.Load(), stopped)
	}
}

func TestPollAPIThatNeverAnswers(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	address := strings.TrimPrefix(server.URL, "https://")
	server.Close()
	began := time.Now()
	poll := controlplane.PollAPI(t.Context(), address, time.Millisecond, time.Second)
	<-time.After(50 * time.Millisecond)
	got := poll.Stop()
	if len(got.Windows) != 1 || got.Total() <= 0 || got.Total() > time.Since(began) {
		t.Errorf("%s, want one window that ends with the poll", got)
	}
}
