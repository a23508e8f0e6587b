//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/systemd"
	"github.com/kubecertd/kubecertd/test/story"
)

const (
	// inNode is set where the tests run in a node, as the daemon would.
	inNode = "KUBECERTD_E2E_IN_NODE"
	diary  = "/opt/e2e/diary"
	letGo  = "/opt/e2e/go"
)

// A shutdown of the machine waits for who has something to finish, and is seen
// meanwhile. This is run within the bounds of kubecertd.service, whose capabilities
// and filters logind and D-Bus have to put up with.
func TestShutdownIsDelayed(t *testing.T) {
	n := onNode(t)
	// It is masked on the lab's nodes, which have nobody to log in.
	n.MustRun(t, "systemctl", "unmask", "systemd-logind")
	n.MustRun(t, "systemctl", "start", "systemd-logind")
	n.bringPart(t)
	n.Override(t, "Type=exec", "WatchdogSec=0", "Restart=no", "Environment="+inNode+"=1", "ReadWritePaths=/opt/e2e",
		"ExecStartPre=", "ExecStart=", "ExecStart="+part+" -test.run=^TestPartOfShutdown$ -test.v")
	n.MustRun(t, "systemctl", "start", "kubecertd")
	wrote := func(words ...string) error {
		text, err := n.ReadFile(diary)
		if err != nil {
			return err
		}
		return story.Contains(string(text), words...)
	}
	story.Eventually(t, 10*time.Second, func() error { return wrote("holds it", "stopping: false") })
	if err := story.Contains(n.MustRun(t, "systemd-inhibit", "--list"), "kubecertd", "shutdown", "delay", "a story is told"); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { n.bootAgain(t) })
	n.MustRun(t, "systemctl", "poweroff")
	story.Eventually(t, 3*time.Second, func() error { return wrote("stopping: true") })
	if result, _ := n.Try("systemctl", "is-system-running"); strings.TrimSpace(result.Stdout) == "stopping" || n.Unit(t, "kubecertd")["ActiveState"] != "active" {
		t.Errorf("the machine is %s although the shutdown is delayed", result.Stdout)
	}
	n.MustRun(t, "touch", letGo)
	story.Eventually(t, 30*time.Second, func() error {
		if n.Running() {
			return fmt.Errorf("the machine is on although the delay is over")
		}
		return nil
	})
	if err := wrote("lets it go", "logind: "); err != nil {
		t.Error(err)
	}
}

// bootAgain gives the node back as the story found it.
func (n *node) bootAgain(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := n.PowerOff(ctx); err != nil { // what is left of it
		t.Fatal(err)
	}
	if err := n.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	n.MustRun(t, "systemctl", "mask", "--now", "systemd-logind")
	if err := n.WaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
}

// part is these tests as a program on the node, where they play the daemon's part.
const part = "/opt/e2e/part"

func (n *node) bringPart(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Copy(self, part, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestPartOfShutdown is the other side of TestShutdownIsDelayed.
func TestPartOfShutdown(t *testing.T) {
	if os.Getenv(inNode) == "" {
		t.Skip("is a part of another story, and runs in a node")
	}
	write := func(format string, values ...any) {
		file, err := os.OpenFile(diary, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		if _, err := fmt.Fprintf(file, format+"\n", values...); err != nil {
			t.Fatal(err)
		}
	}
	manager, err := systemd.Connect(t.Context())
	if err != nil {
		write("%v", err)
		t.Fatal(err)
	}
	defer manager.Close()
	release, err := manager.DelayShutdown(t.Context(), "a story is told")
	if err != nil {
		write("%v", err)
		t.Fatal(err)
	}
	write("holds it")
	for last := ""; last != "stopping: true <nil>"; <-time.After(50 * time.Millisecond) {
		stopping, err := manager.Stopping(t.Context())
		if now := fmt.Sprintf("stopping: %t %v", stopping, err); now != last {
			write("%s", now)
			last = now
		}
	}
	// It is too late for a second one.
	_, err = manager.DelayShutdown(t.Context(), "another")
	write("%v", err)
	story.Eventually(t, 10*time.Second, func() error {
		_, err := os.Stat(letGo)
		return err
	})
	write("lets it go")
	release()
}
