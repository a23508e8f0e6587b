package runtime_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/kubecertd/kubecertd/runtime"
)

func TestDialRefuses(t *testing.T) {
	for _, address := range []string{"", "tcp://127.0.0.1:1", "npipe:////./pipe/x", "run/x.sock", "unix://host/x.sock", "unix:x.sock"} {
		if _, err := runtime.Dial(address); err == nil || !strings.Contains(err.Error(), "unix:///run/containerd/containerd.sock") {
			t.Errorf("Dial(%q) = %v, want an error that shows what is expected", address, err)
		}
	}
}

// What an operator reads when the runtime is not as it should be.
func TestErrorTexts(t *testing.T) {
	tests := []struct {
		name, socket string
		make         func(t *testing.T, path string)
		want         string
	}{
		{"no socket", "containerd.sock", func(*testing.T, string) {},
			"containerd is not answering on unix://PATH: there is no such socket: is it running? systemctl status containerd"},
		{"a dead socket", "crio.sock", func(t *testing.T, path string) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			_ = l.Close()
		}, "crio is not answering on unix://PATH (Error while dialing: dial unix PATH: connect: connection refused): is it running? systemctl status crio"},
		{"a file", "cri-dockerd.sock", func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "PATH is not a socket: check the container runtime's address"},
		{"another service", "some.sock", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			server, done := grpc.NewServer(), make(chan struct{})
			go func() { defer close(done); _ = server.Serve(l) }()
			t.Cleanup(func() { server.Stop(); <-done })
		}, "the container runtime at unix://PATH does not serve CRI v1 (unknown service runtime.v1.RuntimeService): it needs containerd 1.6"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), tt.socket)
			tt.make(t, path)
			client, err := runtime.Dial("unix://" + path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			_, err = client.StaticPods(t.Context())
			want := strings.ReplaceAll(tt.want, "PATH", path)
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("error\n%v, want\n%s…", err, want)
			}
		})
	}
}

// A runtime that hangs costs what the caller allows, and the error names it.
func TestDeadline(t *testing.T) {
	f := serve(t, "containerd")
	f.hang = make(chan struct{})
	client := f.dial(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := client.StaticPods(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "did not answer within") ||
		!strings.Contains(err.Error(), "when asked to list pod sandboxes") || !strings.Contains(err.Error(), "systemctl status containerd") {
		t.Errorf("error %v", err)
	}

	cancelled, stop := context.WithCancel(t.Context())
	stop()
	if _, err := client.StaticPods(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the cancellation", err)
	}
	close(f.hang) // before the server ends, which waits for its calls
	if _, err := client.StaticPods(t.Context()); err != nil {
		t.Errorf("after the runtime went on: %v", err)
	}
}
