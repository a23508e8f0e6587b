//go:build linux

package controlplane_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/machine"
)

func TestFreezeAndThaw(t *testing.T) {
	n := liveNode(t)
	pid, err := n.Pid("kube-scheduler")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Freeze(t.Context(), pid); err != nil {
		t.Fatal(err)
	}
	err = n.Healthy(t.Context())
	if thawErr := n.Thaw(t.Context(), pid); thawErr != nil {
		t.Fatal(thawErr)
	}
	if err == nil || !strings.Contains(err.Error(), "kube-scheduler") || strings.Contains(err.Error(), "etcd") {
		t.Errorf("health while the scheduler is frozen: %v", err)
	}
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Errorf("after thawing: %v", err)
	}
}

func TestCutNetwork(t *testing.T) {
	n := liveNode(t)
	reach := func() error {
		conn, err := net.DialTimeout("tcp", n.Address()+":6443", time.Second)
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	if err := reach(); err != nil {
		t.Fatal(err)
	}
	if err := n.CutNetwork(); err != nil {
		t.Fatal(err)
	}
	err := reach()
	within := n.Healthy(t.Context())
	if err := n.RestoreNetwork(); err != nil {
		t.Fatal(err)
	}
	if err == nil {
		t.Error("the API was reached through a cut network")
	}
	if within != nil {
		t.Errorf("within the node: %v", within)
	}
	eventually(t, 10*time.Second, reach)
}

func TestPowerCutAndBoot(t *testing.T) {
	n := liveNode(t)
	poll := n.PollAPI(t.Context(), 10*time.Millisecond)
	cut := time.Now()
	if err := n.PowerCut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n.Running() {
		t.Error("it runs without power")
	}
	if _, err := n.Run(t.Context(), "true"); !errors.Is(err, machine.ErrOff) {
		t.Errorf("err = %v, want that it is off", err)
	}
	if _, err := n.ReadFile("/etc/kubernetes/admin.conf"); err != nil {
		t.Errorf("its disk: %v", err)
	}
	if err := n.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	was := time.Since(cut)
	seen := poll.Stop()
	t.Log("power cut:", seen)
	if len(seen.Windows) == 0 || seen.Total() > was+time.Second {
		t.Errorf("%s, want less than the %s it took to come back", seen, was)
	}
	if boots := strings.Count(run(t, n, "journalctl", "--list-boots", "--no-pager"), "\n"); boots < 2 {
		t.Errorf("the journal knows %d boots, want that it outlives a power cut", boots)
	}
}

func TestPowerOff(t *testing.T) {
	n := liveNode(t)
	if err := n.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n.Running() {
		t.Error("it is on after it was switched off")
	}
	if err := n.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
}
