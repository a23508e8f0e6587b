package runtime_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kubecertd/kubecertd/runtime"
)

// etcd makes a runtime that runs one static pod, and returns its container.
func etcd(t *testing.T, name string) (*fake, *runtime.Client, runtime.Container) {
	t.Helper()
	f := serve(t, name)
	f.pod("kube-system", "etcd-a", "file")
	f.add("kube-system", "etcd-a", "etcd", 0, noon, running)
	client := f.dial(t)
	list, err := client.StaticPods(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("static pods: %v, %v", list, err)
	}
	return f, client, list[0]
}

func TestStop(t *testing.T) {
	tests := []struct {
		name    string
		grace   time.Duration
		exit    int32
		timeout int64
	}{
		{"leaves by itself", 30 * time.Second, 0, 30},
		{"is killed", time.Second, 137, 1},
		{"no grace", 0, 137, 0},
		{"part of a second is not none", 300 * time.Millisecond, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, client, container := etcd(t, "containerd")
			f.exit = tt.exit
			f.onStop = func(ctx context.Context, _ *record) error {
				// The runtime must have time to kill, clean up and answer.
				deadline, ok := ctx.Deadline()
				if left := time.Until(deadline); !ok || left < tt.grace+25*time.Second || left > tt.grace+30*time.Second {
					t.Errorf("deadline in %s, want the grace of %s and 30s", left, tt.grace)
				}
				return nil
			}
			stopped, err := client.Stop(t.Context(), container, tt.grace)
			if err != nil {
				t.Fatal(err)
			}
			if stopped.ExitCode != tt.exit || stopped.Took <= 0 {
				t.Errorf("got %+v, want exit code %d and a time", stopped, tt.exit)
			}
			if diff := cmp.Diff([]int64{tt.timeout}, f.timeouts); diff != "" {
				t.Errorf("timeouts sent (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStopNeverTwice(t *testing.T) {
	f, client, container := etcd(t, "containerd")
	var refused *runtime.AlreadyAskedError
	f.onStop = func(context.Context, *record) error {
		// While the first request is under way.
		if _, err := client.Stop(t.Context(), container, time.Second); !errors.As(err, &refused) {
			t.Errorf("second stop beside the first: %v, want it refused", err)
		}
		return nil
	}
	if _, err := client.Stop(t.Context(), container, time.Second); err != nil {
		t.Fatal(err)
	}
	// The runtime claims that it runs again; it was stopped all the same.
	f.change(func() { f.containers[0].set(running, 0, ""); f.containers[0].status.FinishedAt = 0 })
	if _, err := client.Stop(t.Context(), container, time.Second); !errors.As(err, &refused) {
		t.Errorf("second stop after the first: %v, want it refused", err)
	} else if want := "kube-system/etcd-a container etcd, attempt 0 (kube-system-e) was asked to stop 0s ago and is not asked twice"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	client.Later(time.Hour)
	if _, err := client.Stop(t.Context(), container, time.Second); !errors.As(err, &refused) {
		t.Errorf("second stop an hour after the first: %v, want it refused", err)
	}
	if diff := cmp.Diff([]string{container.ID}, f.stops); diff != "" {
		t.Errorf("stops (-want +got):\n%s", diff)
	}
}

// After a request that failed nobody can tell whether SIGTERM was sent.
func TestStopNotRepeatedAfterFailure(t *testing.T) {
	f, client, container := etcd(t, "containerd")
	f.onStop = func(context.Context, *record) error { return status.Error(codes.Unknown, "shim is gone") }
	_, err := client.Stop(t.Context(), container, time.Second)
	if err == nil || !strings.Contains(err.Error(), "stop kube-system/etcd-a container etcd") || !strings.Contains(err.Error(), "shim is gone") {
		t.Fatalf("error %v, want one that names the container and the cause", err)
	}
	var refused *runtime.AlreadyAskedError
	for range 2 {
		if _, err := client.Stop(t.Context(), container, time.Second); !errors.As(err, &refused) {
			t.Errorf("second stop: %v, want it refused", err)
		}
		client.Later(30 * time.Second) // within the grace and what the runtime may take besides
	}
	if len(f.stops) != 1 {
		t.Errorf("the runtime was asked %d times, want once", len(f.stops))
	}
	// It still runs, so the request was not taken up.
	f.onStop = nil
	client.Later(time.Second)
	if _, err := client.Stop(t.Context(), container, time.Second); err != nil || len(f.stops) != 2 {
		t.Errorf("stop after its time: %v, the runtime was asked %d times; want it to be asked again", err, len(f.stops))
	}
}

// A runtime that does not answer has not been asked; when it is back, it may be.
func TestStopAfterRuntimeWasAway(t *testing.T) {
	f := serve(t, "containerd")
	f.pod("kube-system", "etcd-a", "file")
	f.add("kube-system", "etcd-a", "etcd", 0, noon, running)
	client := f.dial(t)
	container := runtime.Container{ID: "kube-system-etcd-a-etcd-0", Component: "etcd", Pod: "etcd-a", Namespace: "kube-system"}
	f.onStatus = func(*record) error { return status.Error(codes.Unavailable, "starting") }
	if _, err := client.Stop(t.Context(), container, time.Second); err == nil || !strings.Contains(err.Error(), "was not stopped") {
		t.Fatalf("error %v, want one that says that it was not stopped", err)
	}
	f.change(func() { f.onStatus = nil })
	if _, err := client.Stop(t.Context(), container, time.Second); err != nil {
		t.Fatal(err)
	}
	if len(f.stops) != 1 {
		t.Errorf("the runtime was asked %d times, want once", len(f.stops))
	}
}

func TestStopExitedByItself(t *testing.T) {
	f, client, container := etcd(t, "containerd")
	f.change(func() { f.containers[0].set(exited, 2, "Error") })
	stopped, err := client.Stop(t.Context(), container, time.Second)
	if err != nil || stopped != (runtime.Stopped{ExitCode: 2}) {
		t.Errorf("got %+v, %v, want its own exit code", stopped, err)
	}
	f.change(func() { f.containers = nil })
	stopped, err = client.Stop(t.Context(), container, time.Second)
	if err != nil || stopped != (runtime.Stopped{ExitCode: runtime.UnknownExit}) {
		t.Errorf("got %+v, %v, want an unknown exit code", stopped, err)
	}
	if len(f.stops) != 0 {
		t.Errorf("the runtime was asked to stop %v, want nothing", f.stops)
	}
}

func TestStopCancelled(t *testing.T) {
	f, client, container := etcd(t, "containerd")
	ctx, cancel := context.WithCancel(t.Context())
	f.onStop = func(ctx context.Context, _ *record) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}
	_, err := client.Stop(ctx, container, time.Minute)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the cancellation", err)
	}
}

// A grace that is no whole second is over when it is over, where containerd can be asked
// itself. One that leaves before is not killed.
func TestStopAfterPartOfASecond(t *testing.T) {
	for name, tt := range map[string]struct {
		runtime string
		grace   time.Duration
		stays   bool
		killed  bool
	}{
		"stays":                           {"containerd", 50 * time.Millisecond, true, true},
		"leaves":                          {"containerd", 100 * time.Millisecond, false, false},
		"at once":                         {"containerd", 0, true, false},
		"whole seconds":                   {"containerd", time.Second, true, false},
		"stays, and the runtime is CRI-O": {"cri-o", 50 * time.Millisecond, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, client, container := etcd(t, tt.runtime)
			kills := func() []string {
				f.mu.Lock()
				defer f.mu.Unlock()
				return slices.Clone(f.kills)
			}
			f.onStop = func(context.Context, *record) error {
				for end := time.Now().Add(400 * time.Millisecond); tt.stays && len(kills()) == 0 && time.Now().Before(end); {
					time.Sleep(10 * time.Millisecond)
				}
				return nil
			}
			if _, err := client.Stop(t.Context(), container, tt.grace); err != nil {
				t.Fatal(err)
			}
			var want []string
			if !tt.stays {
				time.Sleep(2 * tt.grace) // whoever still waits for its end would kill what is next there
			}
			if tt.killed {
				want = []string{container.ID + " 9 all=true"}
			}
			if diff := cmp.Diff(want, kills()); diff != "" {
				t.Errorf("killed (-want +got):\n%s", diff)
			}
		})
	}
}
