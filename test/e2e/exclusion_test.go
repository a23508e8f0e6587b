//go:build linux

package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// background starts a command in the node that goes on by itself.
func (n *node) background(t *testing.T, name string, argv ...string) {
	t.Helper()
	n.MustRun(t, append([]string{"systemd-run", "--quiet", "--collect", "--unit=e2e-" + name, "--"}, argv...)...)
	t.Cleanup(func() { _, _ = n.Try("systemctl", "kill", "--signal=SIGKILL", "e2e-"+name) })
}

// waitsFor demands that the daemon and the commands wait, and say for what.
func (n *node) waitsFor(t *testing.T, words ...string) {
	t.Helper()
	n.AwaitSaid(t, 20*time.Second, renew.EventBlocked, append([]string{"host"}, words...)...)
	if err := story.Contains(n.Exits(t, 2, "kubecertd", "plan"), append([]string{"Blocked; nothing is touched", "  host: ", "it is waited for"}, words...)...); err != nil {
		t.Errorf("plan: %v", err)
	}
	if err := story.Contains(n.Exits(t, 4, "kubecertd", "renew"), append([]string{"blocked by host"}, words...)...); err != nil {
		t.Errorf("renew: %v", err)
	}
	if err := story.Contains(n.Unit(t, "kubecertd")["StatusText"], "blocked by host"); err != nil {
		t.Errorf("systemctl status: %v", err)
	}
	if runs := n.History(t); len(runs) != 0 {
		t.Errorf("it has not waited: %+v", runs)
	}
}

// Somebody's own kubeadm is at work, for longer than usual: it waits for its
// configuration, and is frozen in addition. The run begins when it has ended, with what
// it has left to do.
func TestBesideKubeadm(t *testing.T) {
	due := []string{"admin.conf", "scheduler.conf"}
	n := onNode(t)
	n.Configure(t, story.Soon)
	n.MustRun(t, "sh", "-e", "-c", "mkfifo /opt/e2e/configuration")
	n.background(t, "kubeadm", "kubeadm", "certs", "renew", "scheduler.conf", "--config", "/opt/e2e/configuration")
	var pid int
	story.Eventually(t, 10*time.Second, func() (err error) {
		pid, err = n.Pid("kubeadm")
		return err
	})
	n.Start(t)
	n.AwaitEvent(t, 10*time.Second, renew.EventLooked)
	n.Age(t, due...)
	before := n.Observe(t)
	words := []string{fmt.Sprintf("kubeadm certs renew scheduler.conf is running (process %d)", pid)}
	n.waitsFor(t, words...)
	if err := n.Freeze(t.Context(), pid); err != nil {
		t.Fatal(err)
	}
	n.waitsFor(t, words...)
	n.Untouched(t, before)

	if err := n.Thaw(t.Context(), pid); err != nil {
		t.Fatal(err)
	}
	n.MustRun(t, "sh", "-c", "cat "+story.StateDir+"/cluster-configuration.yaml > /opt/e2e/configuration")
	n.AwaitDone(t, time.Minute)
	story.Eventually(t, 20*time.Second, n.Settled)
	for _, name := range due {
		if !n.Renewed(t, name) {
			t.Errorf("%s was not renewed in the end", name)
		}
	}
	n.RestartedOnce(t, before, "kube-scheduler")
	if renewed := story.Values(n.Events(t, renew.EventRenewed), "CERTIFICATE"); len(renewed) != 1 || renewed[0] != "admin.conf" {
		t.Errorf("renewed: %q, want what kubeadm has left", renewed)
	}
}

// dpkg is at work, for as long as the script of a package takes.
func TestBesideDpkg(t *testing.T) {
	n := onNode(t)
	n.Configure(t, story.Soon)
	n.Start(t)
	n.AwaitEvent(t, 10*time.Second, renew.EventLooked)
	n.MustRun(t, "sh", "-e", "-c", `mkdir -p /opt/e2e/slow/DEBIAN && cd /opt/e2e/slow/DEBIAN
printf 'Package: e2e-slow\nVersion: 1\nArchitecture: all\nMaintainer: e2e <e2e@example.com>\nDescription: slow to install\n' >control
printf '#!/bin/sh\nuntil [ -e /opt/e2e/go ]; do sleep 0.1; done\n' >postinst
chmod 755 postinst
dpkg-deb --build /opt/e2e/slow /opt/e2e/slow.deb`)
	t.Cleanup(func() {
		_, _ = n.Try("sh", "-c", "touch /opt/e2e/go; until dpkg --purge e2e-slow; do sleep 1; done")
	})
	n.background(t, "dpkg", "dpkg", "--install", "/opt/e2e/slow.deb")
	var pid int
	story.Eventually(t, 10*time.Second, func() (err error) {
		pid, err = n.Pid("dpkg")
		return err
	})
	n.Age(t, "scheduler.conf")
	before := n.Observe(t)
	n.waitsFor(t, fmt.Sprintf("packages are being installed or removed: /var/lib/dpkg/lock is locked by dpkg (process %d)", pid))
	n.Untouched(t, before)

	n.MustRun(t, "touch", "/opt/e2e/go")
	n.AwaitDone(t, time.Minute)
	story.Eventually(t, 20*time.Second, n.Settled)
	n.RestartedOnce(t, before, "kube-scheduler")
}

// Removing the package waits for a run of a shell, and the run does not wait for dpkg.
func TestRemovedDuringARun(t *testing.T) {
	n := onNode(t)
	t.Cleanup(func() { n.reinstall(t) })
	n.Configure(t, story.Soon+"renew: {kubeadm: /opt/e2e/kubeadm}\n")
	n.MustRun(t, "sh", "-e", "-c", kubeadm(
		`until [ -e /opt/e2e/go ]; do sleep 0.1; done; exec /usr/bin/kubeadm "$@"`))
	n.Age(t, "scheduler.conf")
	before := n.Observe(t)
	n.background(t, "renew", "kubecertd", "renew")
	story.Eventually(t, 20*time.Second, func() error {
		if runs := n.History(t); len(runs) != 1 {
			return fmt.Errorf("history: %+v", runs)
		}
		return nil
	})
	n.background(t, "remove", "sh", "-c", "dpkg --remove kubecertd >/opt/e2e/removal 2>&1; echo $? >/opt/e2e/removed")
	story.Eventually(t, 10*time.Second, func() error {
		said, err := n.ReadFile("/opt/e2e/removal")
		if err != nil {
			return err
		}
		return story.Contains(string(said), "a run is under way", "waiting for its end")
	})
	<-time.After(2 * time.Second)
	n.Read(t, "/usr/bin/kubecertd")
	n.MustRun(t, "touch", "/opt/e2e/go")
	// The run gives dpkg a minute, as it cannot know what is being removed.
	story.Eventually(t, 2*time.Minute, func() error {
		_, err := n.ReadFile("/opt/e2e/removed")
		return err
	})
	if code := n.Read(t, "/opt/e2e/removed"); code != "0\n" {
		t.Errorf("dpkg --remove: exit code %s: %s", code, n.Read(t, "/opt/e2e/removal"))
	}
	n.gone(t, "/usr/bin/kubecertd")
	if !n.Renewed(t, "scheduler.conf") {
		t.Error("the run was cut off")
	}
	// Its journal is not that of the daemon.
	was, is := before.Containers["kube-scheduler"], n.Observe(t).Containers["kube-scheduler"]
	if is.ID == was.ID || is.Attempt != was.Attempt+1 || !is.Running {
		t.Errorf("kube-scheduler was %+v and is %+v, want one restart", was, is)
	}
}

// The node is shut down in the middle of restarts: the kubelet and the container runtime
// stay until what was stopped is back.
func TestPoweredOffDuringRestarts(t *testing.T) {
	n := onNode(t)
	n.Configure(t, story.Soon)
	n.Age(t, "controller-manager.conf", "scheduler.conf")
	n.MustRun(t, "systemctl", "start", "--no-block", "kubecertd")
	n.AwaitEvent(t, time.Minute, renew.EventRestarting)
	if err := n.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if runs := n.History(t); len(runs) != 1 || runs[0].Outcome != renew.Done {
		t.Errorf("history: %+v: want one run that was finished before the power went", runs)
	}
	story.Eventually(t, 20*time.Second, n.Settled)
}
