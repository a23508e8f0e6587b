//go:build linux

package e2e_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/runtime"
)

// A sandbox that is stopped is replaced by the kubelet, with new containers of the
// same pod in it.
func TestSandboxIsReplaced(t *testing.T) {
	n := onNode(t)
	n.bringPart(t)
	t.Log(n.MustRun(t, "env", inNode+"=1", part, "-test.run=^TestPartOfSandbox$", "-test.v"))
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPartOfSandbox is what TestSandboxIsReplaced has done on the node.
func TestPartOfSandbox(t *testing.T) {
	if os.Getenv(inNode) == "" {
		t.Skip("is a part of another story, and runs in a node")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := runtime.Dial("unix:///run/containerd/containerd.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	scheduler := func() runtime.Container {
		pods, err := client.StaticPods(ctx)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(pods, func(c runtime.Container) bool { return c.Component == "kube-scheduler" })
		if i < 0 {
			t.Fatalf("no scheduler among %v", pods)
		}
		return pods[i]
	}
	old := scheduler()
	began := time.Now()
	if err := client.StopSandbox(ctx, old); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s is stopped after %s", old, time.Since(began))
	next, err := client.AwaitSuccessor(ctx, old, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s runs after %s", next, time.Since(began))
	if next.Sandbox == old.Sandbox || next.PodUID != old.PodUID || next.PID == 0 || next.ProcessStarted.Before(began.Add(-time.Second)) {
		t.Errorf("%+v\nfollows\n%+v", next, old)
	}
	if now := scheduler(); now.ID != next.ID {
		t.Errorf("the static pod is %s, want %s", now, next)
	}
	if text, err := client.Said(ctx, old, 300); err != nil || text == "" {
		t.Errorf("the old one said %q, %v", text, err)
	} else {
		t.Logf("the old one's last words:\n%s", text)
	}
}
