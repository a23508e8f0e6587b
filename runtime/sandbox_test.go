package runtime_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kubecertd/kubecertd/runtime"
)

func TestStopSandbox(t *testing.T) {
	f, client, container := etcd(t, "containerd")
	if err := client.StopSandbox(t.Context(), container); err != nil {
		t.Fatal(err)
	}
	if list, err := client.StaticPods(t.Context()); err != nil || len(list) != 1 || list[0].Running || list[0].ExitCode != 137 {
		t.Errorf("static pods: %+v, %v, want it killed", list, err)
	}
	// It is stopped, and then gone.
	if err := client.StopSandbox(t.Context(), container); err != nil {
		t.Error(err)
	}
	f.change(func() { f.sandboxes = nil })
	if err := client.StopSandbox(t.Context(), container); err != nil {
		t.Error(err)
	}
	if want := []string{container.Sandbox}; !slices.Equal(f.sandboxed, want) {
		t.Errorf("stopped %v, want %v once", f.sandboxed, want)
	}
}

// Only the kubelet's own manifests bring a pod back without the API server.
func TestStopSandboxOfStaticPodsAlone(t *testing.T) {
	f := serve(t, "containerd")
	sandbox := f.pod("kube-system", "coredns", "api")
	f.add("kube-system", "coredns", "coredns", 0, noon, running)
	client := f.dial(t)
	err := client.StopSandbox(t.Context(), runtime.Container{ID: "kube-system-coredns-coredns-0", Sandbox: sandbox, Namespace: "kube-system", Pod: "coredns", Component: "coredns"})
	if err == nil || !strings.Contains(err.Error(), "is not a static pod's") || !strings.Contains(err.Error(), "kube-system/coredns") {
		t.Errorf("error %v, want it refused", err)
	}
	if err := client.StopSandbox(t.Context(), runtime.Container{ID: "x", Component: "etcd"}); err == nil || !strings.Contains(err.Error(), "is not known") {
		t.Errorf("without a sandbox: %v, want it refused", err)
	}
	if len(f.sandboxed) > 0 {
		t.Errorf("stopped %v, want none", f.sandboxed)
	}
}

func TestStopSandboxFails(t *testing.T) {
	f, client, container := etcd(t, "containerd")
	f.onSandbox = func(string) error { return status.Error(codes.Unknown, "shim is gone") }
	err := client.StopSandbox(t.Context(), container)
	if want := "containerd at unix://" + f.socket + " was asked to stop the sandbox sandbox-kube- of " + container.String() + ": shim is gone"; err == nil || err.Error() != want {
		t.Errorf("error\n%v, want\n%s", err, want)
	}
	hang := make(chan struct{})
	defer close(hang)
	f.change(func() { f.hang = hang })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := client.StopSandbox(ctx, container); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "was not stopped") {
		t.Errorf("error %v of a runtime that hangs, want the time and that nothing was stopped", err)
	}
}
