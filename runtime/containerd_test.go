package runtime_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/runtime"
)

const image = "localhost/component:1"

// The life of a static pod's container on a real containerd: found, stopped,
// followed by another, by events and by polling.
func TestContainerd(t *testing.T) {
	r := startContainerd(t)
	byEvents, byPolling := r.dial(t), r.dial(t)
	byPolling.WithoutEvents()
	name, version, err := byEvents.Version(t.Context())
	if err != nil || name != "containerd" {
		t.Fatalf("version %q %q, %v", name, version, err)
	}
	t.Logf("containerd %s", version)

	r.start(t, r.pod(t, "coredns", "api"), "coredns", 0)
	sandbox := r.pod(t, "kube-scheduler-a", "file")
	r.start(t, sandbox, "kube-scheduler", 0)

	attempt := uint32(0)
	for kind, client := range map[string]*runtime.Client{"events": byEvents, "polling": byPolling} {
		t.Run(kind, func(t *testing.T) {
			found, err := client.StaticPods(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != 1 || found[0].Component != "kube-scheduler" || found[0].Attempt != attempt || !found[0].Running {
				t.Fatalf("static pods: %+v, want the scheduler's attempt %d alone", found, attempt)
			}
			old := found[0]
			alive(t, old)

			stopped, err := client.Stop(t.Context(), old, 10*time.Second)
			if err != nil || stopped.ExitCode != 0 || stopped.Took > 5*time.Second {
				t.Fatalf("stopped: %+v, %v, want exit code 0 well within the grace", stopped, err)
			}
			if found, err = client.StaticPods(t.Context()); err != nil || len(found) != 1 || found[0].Running || found[0].Finished.IsZero() || found[0].PID != 0 {
				t.Fatalf("after the stop: %+v, %v", found, err)
			}

			type result struct {
				c   runtime.Container
				err error
			}
			waiting, done := make(chan struct{}, 1), make(chan result, 1)
			go func() {
				c, err := client.AwaitSuccessor(t.Context(), old, func(string) {
					select {
					case waiting <- struct{}{}:
					default:
					}
				})
				done <- result{c, err}
			}()
			<-waiting
			attempt++
			started := time.Now()
			id := r.start(t, sandbox, "kube-scheduler", attempt)
			got := <-done
			t.Logf("stopped in %s; the successor was seen %s after it was asked for", stopped.Took, time.Since(started))
			if got.err != nil || got.c.ID != id || got.c.Attempt != attempt || !got.c.Running {
				t.Fatalf("successor: %+v, %v, want %s", got.c, got.err, id)
			}
			alive(t, got.c)
			if text, err := client.Said(t.Context(), got.c, 1000); err != nil || text != "ready" {
				t.Errorf("it said %q, %v, want ready", text, err)
			}
			if !got.c.ProcessStarted.After(old.ProcessStarted) {
				t.Errorf("the successor's process started at %s, the old one's at %s", got.c.ProcessStarted, old.ProcessStarted)
			}
		})
	}

	// The kubelet's answer to a sandbox that is not ready is another one.
	t.Run("sandbox", func(t *testing.T) {
		found, err := byEvents.StaticPods(t.Context())
		if err != nil || len(found) != 1 || !found[0].Running {
			t.Fatalf("static pods: %+v, %v", found, err)
		}
		old := found[0]
		if err := byEvents.StopSandbox(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		if found, err = byEvents.StaticPods(t.Context()); err != nil || len(found) != 1 || found[0].Running {
			t.Fatalf("after the stop: %+v, %v", found, err)
		}
		if text, err := byEvents.Said(t.Context(), old, 1000); err != nil || text != "ready" {
			t.Errorf("when it has exited it said %q, %v, want ready", text, err)
		}
		if err := byEvents.StopSandbox(t.Context(), old); err != nil {
			t.Errorf("again: %v", err)
		}
		another := r.podAgain(t)
		id := r.start(t, another, "kube-scheduler", old.Attempt+1)
		got, err := byEvents.AwaitSuccessor(t.Context(), old, nil)
		if err != nil || got.ID != id || got.Sandbox != another || got.PodUID != old.PodUID {
			t.Errorf("successor: %+v, %v, want %s in %s", got, err, id, another)
		}
	})

	t.Run("stubborn", func(t *testing.T) {
		r.start(t, r.pod(t, "etcd-a", "file"), "etcd", 0, "stubborn")
		found, err := byEvents.StaticPods(t.Context())
		if err != nil || len(found) != 2 || found[0].Component != "etcd" {
			t.Fatalf("static pods: %+v, %v", found, err)
		}
		stopped, err := byEvents.Stop(t.Context(), found[0], time.Second)
		if err != nil || stopped.ExitCode != 137 || stopped.Took < time.Second {
			t.Errorf("stopped: %+v, %v, want it killed after a second", stopped, err)
		}
		r.start(t, r.pod(t, "kube-apiserver-a", "file"), "kube-apiserver", 0, "stubborn")
		if found, err = byEvents.StaticPods(t.Context()); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(found, func(c runtime.Container) bool { return c.Component == "kube-apiserver" })
		stopped, err = byEvents.Stop(t.Context(), found[i], 1100*time.Millisecond)
		if err != nil || stopped.ExitCode != 137 || stopped.Took < 1100*time.Millisecond || stopped.Took >= 2*time.Second {
			t.Errorf("stopped: %+v, %v, want it killed after 1.1 seconds, not 2", stopped, err)
		}
	})
}

// alive checks what is known of a container's process.
func alive(t *testing.T, c runtime.Container) {
	t.Helper()
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c.PID))
	if err != nil || !strings.HasPrefix(string(command), "/component") {
		t.Errorf("process %d is %q (%v), want the component", c.PID, command, err)
	}
	if off := c.ProcessStarted.Sub(c.Started).Abs(); off > 2*time.Second {
		t.Errorf("the process started at %s, the runtime says %s", c.ProcessStarted, c.Started)
	}
}
