package runtime_test

import (
	"context"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubecertd/kubecertd/runtime"
)

// until polls a condition; a test that waits for longer has failed.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestAwaitSuccessor(t *testing.T) {
	for _, name := range []string{"containerd", "cri-o"} {
		t.Run(name, func(t *testing.T) {
			f, client, old := etcd(t, name)
			f.change(func() {
				lists := f.lists
				f.onList = func(n int) { // the third look sees it created, the sixth running
					switch n - lists {
					case 1:
						f.containers[0].set(running, 0, "")
					case 2:
						f.containers[0].set(exited, 0, "Completed")
					case 3:
						f.addLocked("kube-system", "etcd-a", "etcd", 1, noon.Add(-time.Hour), created)
						f.addLocked("kube-system", "other", "etcd", 7, noon.Add(time.Hour), running)
						f.pids["kube-system-etcd-a-etcd-1"] = os.Getpid()
					case 6:
						f.containers[1].set(running, 0, "")
					}
				}
			})
			var said []string
			got, err := client.AwaitSuccessor(t.Context(), old, func(text string) {
				if len(said) == 0 || said[len(said)-1] != text {
					said = append(said, text)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if got.ID != "kube-system-etcd-a-etcd-1" || got.Attempt != 1 || got.PID != os.Getpid() || got.ProcessStarted.IsZero() {
				t.Errorf("got %+v", got)
			}
			want := []string{"the old container still runs", "the kubelet has not yet made a new container", "attempt 1 is created and not yet started"}
			if diff := cmp.Diff(want, said); diff != "" {
				t.Errorf("progress (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAwaitSuccessorAlreadyThere(t *testing.T) {
	f, client, old := etcd(t, "containerd")
	f.add("kube-system", "etcd-a", "etcd", 1, noon.Add(time.Minute), running)
	got, err := client.AwaitSuccessor(t.Context(), old, nil)
	if err != nil || got.Attempt != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// The manifest was changed meanwhile: the pod has the same name, another UID, and
// counts from 0 again.
func TestAwaitSuccessorOfChangedManifest(t *testing.T) {
	f, client, old := etcd(t, "containerd")
	f.change(func() { f.containers[0].set(exited, 0, "") })
	c := f.add("kube-system", "etcd-a", "etcd", 0, noon.Add(time.Minute), running)
	f.change(func() {
		c.Id, c.status.Id = "another", "another"
		c.Labels["io.kubernetes.pod.uid"] = "another"
	})
	got, err := client.AwaitSuccessor(t.Context(), old, nil)
	if err != nil || got.ID != "another" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// The sandbox was stopped: the kubelet makes another for the same pod, in which it goes
// on counting or, where it has lost count, begins anew.
func TestAwaitSuccessorInNewSandbox(t *testing.T) {
	for _, tt := range []struct {
		name    string
		attempt uint32
		created time.Time
	}{
		{"goes on", 6, noon.Add(time.Minute)},
		{"begins anew", 0, noon.Add(time.Minute)},
		{"the same number", 5, noon.Add(time.Minute)},
		{"goes on after the clock was put back", 6, noon.Add(-time.Hour)},
		{"begins anew after the clock was put back", 0, noon.Add(-time.Hour)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := serve(t, "containerd")
			f.pod("kube-system", "etcd-a", "file")
			f.add("kube-system", "etcd-a", "etcd", 5, noon, running)
			client := f.dial(t)
			list, err := client.StaticPods(t.Context())
			if err != nil || len(list) != 1 {
				t.Fatalf("static pods: %v, %v", list, err)
			}
			if err := client.StopSandbox(t.Context(), list[0]); err != nil {
				t.Fatal(err)
			}
			f.pod("kube-system", "etcd-a", "file")
			c := f.add("kube-system", "etcd-a", "etcd", tt.attempt, tt.created, running)
			f.change(func() {
				f.sandboxes[1].Id, c.PodSandboxId = "second", "second"
				c.Id, c.status.Id = "successor", "successor"
			})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			got, err := client.AwaitSuccessor(ctx, list[0], nil)
			if err != nil || got.ID != "successor" || got.Sandbox != "second" {
				t.Errorf("got %+v, %v", got, err)
			}
			if list, err = client.StaticPods(t.Context()); err != nil || len(list) != 1 || list[0].ID != "successor" {
				t.Errorf("static pods: %v, %v, want the successor alone", list, err)
			}
		})
	}
}

// What exited in an earlier sandbox, with a higher count, is no successor.
func TestAwaitSuccessorNotFromEarlierSandbox(t *testing.T) {
	f, client, old := etcd(t, "containerd")
	c := f.add("kube-system", "etcd-a", "etcd", 7, noon.Add(-time.Hour), exited)
	f.change(func() { c.PodSandboxId = "earlier" })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := client.AwaitSuccessor(ctx, old, nil); err == nil || !strings.Contains(err.Error(), "the old container still runs") {
		t.Errorf("error %v, want that the old one still runs", err)
	}
}

// An event makes the look come at once. The poll is not quick enough for as many
// successors as this in the time.
func TestAwaitSuccessorByEvent(t *testing.T) {
	f, client, old := etcd(t, "containerd")
	type result struct {
		c   runtime.Container
		err error
	}
	const rounds = 10
	began := time.Now()
	for round := range uint32(rounds) {
		done := make(chan result, 1)
		go func() {
			c, err := client.AwaitSuccessor(t.Context(), old, nil)
			done <- result{c, err}
		}()
		until(t, "a subscription", func() bool { return f.subscribers() == 1 })
		looked := 0
		f.change(func() { looked = f.lists })
		f.add("kube-system", "etcd-a", "etcd", round+1, noon.Add(time.Duration(round)*time.Minute), running)
		f.emit("/tasks/start")
		r := <-done
		if r.err != nil || r.c.Attempt != round+1 {
			t.Fatalf("got %+v, %v", r.c, r.err)
		}
		f.change(func() {
			if f.lists-looked > 2 {
				t.Errorf("%d looks after the event, want one", f.lists-looked)
			}
		})
		until(t, "the end of the subscription", func() bool { return f.subscribers() == 0 })
		old = r.c
	}
	if took := time.Since(began); took > rounds*400*time.Millisecond {
		t.Errorf("%d successors took %s: the events were not used", rounds, took)
	}
}

// Events that never come cost half a second, not the successor; neither does a
// stream that ends.
func TestAwaitSuccessorEventsLost(t *testing.T) {
	for _, lost := range []string{"silent", "ended"} {
		t.Run(lost, func(t *testing.T) {
			f, client, old := etcd(t, "containerd")
			done := make(chan error, 1)
			go func() {
				_, err := client.AwaitSuccessor(t.Context(), old, nil)
				done <- err
			}()
			until(t, "a subscription", func() bool { return f.subscribers() == 1 })
			if lost == "ended" {
				f.change(func() {
					for l := range f.listeners {
						close(l)
					}
				})
				until(t, "the end of the subscription", func() bool { return f.subscribers() == 0 })
			}
			f.add("kube-system", "etcd-a", "etcd", 1, noon.Add(time.Minute), running)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAwaitSuccessorDeadline(t *testing.T) {
	tests := []struct {
		name string
		on   func(f *fake)
		want string
	}{
		{"nothing new", func(f *fake) { f.containers[0].set(exited, 0, "") },
			"the kubelet has not yet made a new container"},
		{"old one stays", func(*fake) {}, "the old container still runs"},
		{"new one fails", func(f *fake) {
			f.containers[0].set(exited, 0, "")
			f.addLocked("kube-system", "etcd-a", "etcd", 1, noon.Add(time.Minute), exited)
			f.containers[1].set(exited, 1, "Error")
		}, "attempt 1 exited with 1 (Error); the kubelet waits longer before each further start"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, client, old := etcd(t, "containerd")
			f.change(func() { tt.on(f) })
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err := client.AwaitSuccessor(ctx, old, nil)
			want := "no successor of kube-system/etcd-a container etcd, attempt 0 (kube-system-e) within 300ms: " + tt.want + ": context deadline exceeded"
			if err == nil || err.Error() != want {
				t.Errorf("error\n%v, want\n%s", err, want)
			}
		})
	}
}

// The runtime is restarted while a successor is awaited.
func TestAwaitSuccessorOverRuntimeRestart(t *testing.T) {
	f := serve(t, "containerd")
	f.pod("kube-system", "etcd-a", "file")
	f.add("kube-system", "etcd-a", "etcd", 0, noon, running)
	client := f.dial(t)
	old := runtime.Container{ID: "kube-system-etcd-a-etcd-0", Component: "etcd", Namespace: "kube-system", Pod: "etcd-a", PodUID: "uid-etcd-a", Created: noon}

	second := &fake{name: f.name, socket: f.socket, pids: f.pids, sandboxes: f.sandboxes, containers: f.containers, listeners: f.listeners}
	var away atomic.Bool
	done := make(chan error, 1)
	go func() {
		_, err := client.AwaitSuccessor(t.Context(), old, func(text string) {
			if strings.Contains(text, "is not answering on unix://"+f.socket) {
				away.Store(true)
			}
		})
		done <- err
	}()
	until(t, "a subscription", func() bool { return f.subscribers() == 1 })
	f.stop()
	until(t, "the runtime being away", away.Load)
	second.add("kube-system", "etcd-a", "etcd", 1, noon.Add(time.Minute), cri.ContainerState_CONTAINER_RUNNING)
	second.start(t)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
