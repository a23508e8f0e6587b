package runtime_test

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubecertd/kubecertd/runtime"
)

const (
	running = cri.ContainerState_CONTAINER_RUNNING
	exited  = cri.ContainerState_CONTAINER_EXITED
	created = cri.ContainerState_CONTAINER_CREATED
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ids(containers []runtime.Container) []string {
	var ids []string
	for _, c := range containers {
		ids = append(ids, c.ID)
	}
	return ids
}

func TestStaticPods(t *testing.T) {
	tests := []struct {
		name string
		on   func(f *fake)
		want []string
	}{
		{"nothing there", func(*fake) {}, nil},
		{"only pods from files", func(f *fake) {
			f.pod("kube-system", "etcd-a", "file")
			f.pod("kube-system", "coredns", "api")
			f.pod("default", "etcd-a", "") // pretends by its name alone
			f.add("kube-system", "etcd-a", "etcd", 0, noon, running)
			f.add("kube-system", "coredns", "coredns", 0, noon, running)
			f.add("default", "etcd-a", "etcd", 0, noon, running)
		}, []string{"kube-system-etcd-a-etcd-0"}},
		{"the running one, not those before it", func(f *fake) {
			f.pod("kube-system", "etcd-a", "file")
			f.add("kube-system", "etcd-a", "etcd", 0, noon, exited)
			f.add("kube-system", "etcd-a", "etcd", 2, noon.Add(2*time.Hour), running)
			f.add("kube-system", "etcd-a", "etcd", 1, noon.Add(time.Hour), exited)
		}, []string{"kube-system-etcd-a-etcd-2"}},
		{"else the last that exited", func(f *fake) {
			f.pod("kube-system", "etcd-a", "file")
			f.add("kube-system", "etcd-a", "etcd", 4, noon.Add(time.Hour), exited)
			f.add("kube-system", "etcd-a", "etcd", 3, noon, exited)
		}, []string{"kube-system-etcd-a-etcd-4"}},
		{"the attempt counts, not a clock that was set back", func(f *fake) {
			f.pod("kube-system", "etcd-a", "file")
			f.add("kube-system", "etcd-a", "etcd", 4, noon, exited)
			f.add("kube-system", "etcd-a", "etcd", 3, noon.Add(time.Hour), exited)
		}, []string{"kube-system-etcd-a-etcd-4"}},
		{"two run while the old one is leaving", func(f *fake) {
			f.pod("kube-system", "etcd-a", "file")
			f.add("kube-system", "etcd-a", "etcd", 1, noon.Add(time.Second), running)
			f.add("kube-system", "etcd-a", "etcd", 0, noon, running)
		}, []string{"kube-system-etcd-a-etcd-1"}},
		{"one that runs before a later one that failed", func(f *fake) {
			f.pod("kube-system", "etcd-a", "file")
			f.add("kube-system", "etcd-a", "etcd", 0, noon, running)
			f.add("kube-system", "etcd-a", "etcd", 1, noon.Add(time.Second), exited)
		}, []string{"kube-system-etcd-a-etcd-0"}},
		{"kube-system first, every container of a pod", func(f *fake) {
			f.pod("edge", "proxy-a", "file")
			f.pod("kube-system", "kube-scheduler-a", "file")
			f.add("edge", "proxy-a", "sidecar", 0, noon, running)
			f.add("edge", "proxy-a", "proxy", 0, noon, running)
			f.add("kube-system", "kube-scheduler-a", "kube-scheduler", 0, noon, running)
		}, []string{"kube-system-kube-scheduler-a-kube-scheduler-0", "edge-proxy-a-proxy-0", "edge-proxy-a-sidecar-0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := serve(t, "containerd")
			tt.on(f)
			got, err := f.dial(t).StaticPods(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, ids(got)); diff != "" {
				t.Errorf("containers (-want +got):\n%s", diff)
			}
		})
	}
}

// A container is removed by the kubelet between the list and the question for its
// status.
func TestStaticPodsRemovedMeanwhile(t *testing.T) {
	f := serve(t, "containerd")
	f.pod("kube-system", "etcd-a", "file")
	f.pod("kube-system", "kube-scheduler-a", "file")
	f.add("kube-system", "etcd-a", "etcd", 0, noon, exited)
	f.add("kube-system", "kube-scheduler-a", "kube-scheduler", 0, noon, running)
	f.onStatus = func(c *record) error {
		if c.Metadata.Name == "etcd" {
			return status.Error(codes.NotFound, "no such container")
		}
		return nil
	}
	got, err := f.dial(t).StaticPods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"kube-system-kube-scheduler-a-kube-scheduler-0"}, ids(got)); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
}

// The process comes from containerd's own API where there is one, and from CRI's
// verbose status elsewhere; both must tell the same.
func TestStaticPodsDescribed(t *testing.T) {
	started, err := runtime.ProcessStart(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"containerd", "cri-o"} {
		t.Run(name, func(t *testing.T) {
			f := serve(t, name)
			f.pod("kube-system", "etcd-a", "file")
			f.pod("kube-system", "kube-scheduler-a", "file")
			f.add("kube-system", "etcd-a", "etcd", 3, noon, running)
			f.pids["kube-system-etcd-a-etcd-3"] = os.Getpid()
			f.add("kube-system", "kube-scheduler-a", "kube-scheduler", 1, noon, exited)
			f.containers[1].status.ExitCode = 255
			f.containers[1].status.Reason = "Error"

			got, err := f.dial(t).StaticPods(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 2 {
				t.Fatalf("got %d containers, want 2", len(got))
			}
			if d := got[0].ProcessStarted.Sub(started).Abs(); d > 50*time.Millisecond {
				t.Errorf("process started at %s, want %s", got[0].ProcessStarted, started)
			}
			got[0].ProcessStarted = time.Time{}
			want := []runtime.Container{{
				ID: "kube-system-etcd-a-etcd-3", Component: "etcd", Namespace: "kube-system", Pod: "etcd-a", PodUID: "uid-etcd-a",
				Sandbox: "sandbox-kube-system-etcd-a", Attempt: 3, Running: true, Created: noon, Started: noon.Add(time.Second), PID: os.Getpid(),
			}, {
				ID: "kube-system-kube-scheduler-a-kube-scheduler-1", Component: "kube-scheduler", Namespace: "kube-system", Pod: "kube-scheduler-a",
				PodUID: "uid-kube-scheduler-a", Sandbox: "sandbox-kube-system-kube-scheduler-a", Attempt: 1,
				Created: noon, Started: noon.Add(time.Second), Finished: noon.Add(time.Minute), ExitCode: 255, Reason: "Error",
			}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("containers (-want +got):\n%s", diff)
			}
		})
	}
}

// A process that is gone by the time it is looked at must not lend its start to
// whatever got its number.
func TestStaticPodsProcessGone(t *testing.T) {
	f := serve(t, "containerd")
	f.pod("kube-system", "etcd-a", "file")
	f.add("kube-system", "etcd-a", "etcd", 0, noon, running)
	f.pids["kube-system-etcd-a-etcd-0"] = os.Getpid()
	asked := 0
	f.onStatus = func(c *record) error {
		if asked++; asked == 2 { // it exits after its process was read
			c.set(exited, 1, "Error")
		}
		return nil
	}
	got, err := f.dial(t).StaticPods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Running || got[0].PID != 0 || !got[0].ProcessStarted.IsZero() {
		t.Errorf("got running=%v pid=%d started=%s, want an exited container without a process", got[0].Running, got[0].PID, got[0].ProcessStarted)
	}
}

// A container starts between the list and the question for its status. Its process
// must not be missing: without it, there is no proof of when it started.
func TestStaticPodsStartedMeanwhile(t *testing.T) {
	f := serve(t, "containerd")
	f.pod("kube-system", "etcd-a", "file")
	f.add("kube-system", "etcd-a", "etcd", 0, noon, created)
	f.pids["kube-system-etcd-a-etcd-0"] = os.Getpid()
	f.onStatus = func(c *record) error {
		c.set(running, 0, "")
		return nil
	}
	got, err := f.dial(t).StaticPods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !got[0].Running || got[0].PID != os.Getpid() || got[0].ProcessStarted.IsZero() {
		t.Errorf("got running=%v pid=%d started=%s, want a running container with its process", got[0].Running, got[0].PID, got[0].ProcessStarted)
	}
}

func TestVersion(t *testing.T) {
	name, version, err := serve(t, "cri-o").dial(t).Version(t.Context())
	if err != nil || name != "cri-o" || version != "v2.2.1" {
		t.Errorf("got %q, %q, %v", name, version, err)
	}
}

func TestImageVersion(t *testing.T) {
	for image, want := range map[string]string{
		"registry.k8s.io/kube-apiserver:v1.36.3":                                  "v1.36.3",
		"registry.k8s.io/etcd:3.6.8-0":                                            "3.6.8-0",
		"localhost:5000/etcd":                                                     "",
		"localhost:5000/etcd:3.5.15-0@sha256:2e0fa1b5":                            "3.5.15-0",
		"registry.k8s.io/kube-apiserver@sha256:2e0fa1b5":                          "",
		"sha256:b7335a56022aba291f5df653c01b7ab98d64fb5cab221378617f4a1236e06a62": "",
		"": "",
	} {
		if got := (runtime.Container{Image: image}).Version(); got != want {
			t.Errorf("%q has version %q, want %q", image, got, want)
		}
	}
}

// The image is what the pod names, and else what the runtime calls it.
func TestImage(t *testing.T) {
	f := serve(t, "containerd")
	f.pod("kube-system", "etcd-a", "file")
	f.pod("kube-system", "kube-scheduler-a", "file")
	etcd := f.add("kube-system", "etcd-a", "etcd", 0, noon, running)
	etcd.Image = &cri.ImageSpec{Image: "sha256:1", UserSpecifiedImage: "registry.k8s.io/etcd:3.6.8-0"}
	etcd.status.Image = &cri.ImageSpec{Image: "mirror.local/etcd:other"}
	scheduler := f.add("kube-system", "kube-scheduler-a", "kube-scheduler", 0, noon, running)
	scheduler.Image = &cri.ImageSpec{Image: "sha256:2"}
	scheduler.status.Image = &cri.ImageSpec{Image: "registry.k8s.io/kube-scheduler:v1.29.1"}
	list, err := f.dial(t).StaticPods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range list {
		got[c.Component] = c.Version()
	}
	if diff := cmp.Diff(map[string]string{"etcd": "3.6.8-0", "kube-scheduler": "v1.29.1"}, got); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
}
