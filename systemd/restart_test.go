package systemd_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/systemd"
)

func TestRestart(t *testing.T) {
	tests := []struct {
		name   string
		job    func(unit map[string]any, end func(result string))
		result string // of a JobError
		want   string // in the error
	}{
		{"done", func(u map[string]any, end func(string)) { started(u, 2); end("done") }, "", ""},
		{"failed", func(u map[string]any, end func(string)) { u["ActiveState"] = "failed"; end("failed") }, "failed",
			"systemd's job to restart kubelet.service ended with \"failed\" (it did not start): look at `systemctl status kubelet.service` and `journalctl -u kubelet.service`"},
		{"timeout", func(_ map[string]any, end func(string)) { end("timeout") }, "timeout", `ended with "timeout" (it did not start in time)`},
		{"canceled", func(_ map[string]any, end func(string)) { end("canceled") }, "canceled", `ended with "canceled" (another job took its place)`},
		{"dependency", func(_ map[string]any, end func(string)) { end("dependency") }, "dependency", "a unit that it requires did not start"},
		{"a word of tomorrow", func(_ map[string]any, end func(string)) { end("frozen") }, "frozen", `ended with "frozen": look at`},
		// "done" is the job's word; the process may have left since.
		{"done and not active", func(u map[string]any, end func(string)) {
			started(u, 2)
			u["ActiveState"], u["SubState"], u["Result"] = "activating", "auto-restart", "exit-code"
			end("done")
		}, "", "kubelet.service was restarted and is now activating (auto-restart), result exit-code: look at `journalctl -u kubelet.service`"},
		{"done and nothing new", func(_ map[string]any, end func(string)) { end("done") }, "",
			"kubelet.service is still the invocation 0102030405060708090a0b0c0d0e0f10: systemd did not restart it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, fake, m := connected(t)
			fake.decide(tt.job)
			err := m.Restart(t.Context(), kubelet)
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error\n%v, want\n%s", err, tt.want)
			}
			var job *systemd.JobError
			if errors.As(err, &job) != (tt.result != "") || (job != nil && (job.Result != tt.result || job.Unit != kubelet)) {
				t.Errorf("job error %+v, want result %q", job, tt.result)
			}
			if diff := cmp.Diff([]string{"kubelet.service ignore-dependencies"}, fake.asked()); diff != "" {
				t.Errorf("restarts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRestartRefused(t *testing.T) {
	_, fake, m := connected(t)
	if err := m.Restart(t.Context(), "gone.service"); err == nil || err.Error() != "restart gone.service: its unit is not-found: look at `systemctl status gone.service`" {
		t.Errorf("error %v", err)
	}
	if len(fake.asked()) != 0 {
		t.Errorf("asked for %v although there is no such unit", fake.asked())
	}
	fake.mu.Lock()
	fake.units[kubelet]["refuse"] = "yes"
	fake.mu.Unlock()
	if err := m.Restart(t.Context(), kubelet); err == nil || err.Error() != "restart kubelet.service: systemd refused: Unit kubelet.service is masked." {
		t.Errorf("error %v", err)
	}
}

// A unit that has failed too often is started again all the same.
func TestRestartFailed(t *testing.T) {
	_, fake, m := connected(t)
	fake.decide(func(u map[string]any, end func(string)) { started(u, 2); end("done") })
	fake.mu.Lock()
	fake.units[kubelet]["ActiveState"], fake.units[kubelet]["refuse"] = "failed", "it was started too often"
	fake.mu.Unlock()
	if err := m.Restart(t.Context(), kubelet); err != nil {
		t.Error(err)
	}
	if err := m.Restart(t.Context(), kubelet); err == nil || !strings.Contains(err.Error(), "still the invocation") {
		t.Errorf("again: %v", err)
	}
	fake.mu.Lock()
	defer fake.mu.Unlock()
	if diff := cmp.Diff([]string{kubelet}, fake.reset); diff != "" {
		t.Errorf("forgotten (-want +got):\n%s", diff)
	}
}

// "queued" is not "restarted": a job that does not end in time is an error, and it
// does not keep later jobs from being heard.
func TestRestartSlow(t *testing.T) {
	_, fake, m := connected(t)
	ends := make(chan func(string), 1)
	fake.decide(func(u map[string]any, end func(string)) {
		u["ActiveState"], u["SubState"] = "deactivating", "stop-sigterm"
		ends <- end
	})
	ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
	defer cancel()
	err := m.Restart(ctx, kubelet)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "has not ended in time (it is deactivating (stop-sigterm)) and goes on") {
		t.Errorf("error %v", err)
	}
	late := <-ends
	fake.mu.Lock()
	late("done") // nobody listens any more
	fake.mu.Unlock()
	fake.decide(func(u map[string]any, end func(string)) { started(u, 3); end("done") })
	if err := m.Restart(t.Context(), kubelet); err != nil {
		t.Errorf("the next restart: %v", err)
	}
}

// The signal that a job has ended is lost; the unit shows it.
func TestRestartSignalLost(t *testing.T) {
	for _, works := range []bool{true, false} {
		_, fake, m := connected(t)
		fake.decide(func(u map[string]any, _ func(string)) {
			u["Job"] = job{0, "/"}
			if works {
				started(u, 2)
			} else {
				u["ActiveState"], u["SubState"], u["Result"] = "failed", "failed", "exit-code"
			}
		})
		err := m.Restart(t.Context(), kubelet)
		if works != (err == nil) {
			t.Errorf("unit works: %v, error %v", works, err)
		}
	}
}

// The D-Bus daemon is restarted while the kubelet is.
func TestRestartOverBusRestart(t *testing.T) {
	b, fake, m := connected(t)
	asked := make(chan struct{})
	fake.decide(func(u map[string]any, _ func(string)) {
		u["Job"] = job{0, "/"}
		started(u, 2)
		close(asked)
	})
	done := make(chan error, 1)
	go func() { done <- m.Restart(t.Context(), kubelet) }()
	<-asked
	b.stop()
	b.start(t)
	fake.join(t, b)
	if err := <-done; err != nil && !strings.Contains(err.Error(), "was lost while asking") {
		t.Error(err)
	}
	if len(fake.asked()) != 1 {
		t.Errorf("the unit was restarted %d times, want once", len(fake.asked()))
	}
}
