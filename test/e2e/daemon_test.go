//go:build linux

package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// A wrong configuration keeps the daemon from starting and names every key, until it
// is put right.
func TestConfigurationBrokenAtStart(t *testing.T) {
	n := onNode(t)
	n.Override(t, "RestartSec=1s")
	n.Configure(t, "renew: {befor: 30d}\ncheck: {interval: soon}\n")
	before := n.Observe(t)
	if result, err := n.Try("systemctl", "start", "kubecertd"); err == nil {
		t.Errorf("systemctl start ends well: %s%s", result.Stdout, result.Stderr)
	}
	if u := n.Unit(t, "kubecertd"); u["ExecMainStatus"] != "3" || u["ActiveState"] == "active" {
		t.Errorf("the unit is %v: want exit code 3", u)
	}
	words := []string{"renew.befor", "check.interval", "soon", story.ConfigFile}
	n.AwaitSaid(t, 10*time.Second, "", words...)
	if err := story.Contains(n.Exits(t, 3, "kubecertd", "config", "check"), words...); err != nil {
		t.Errorf("config check: %v", err)
	}
	n.Untouched(t, before)

	n.Configure(t, story.Soon)
	story.Eventually(t, 10*time.Second, func() error {
		if u := n.Unit(t, "kubecertd"); u["ActiveState"] != "active" {
			return fmt.Errorf("the unit is %v", u)
		}
		return nil
	})
}

// A threshold that no certificate of this node can meet is refused where a person
// looks.
func TestThresholdLongerThanLifetime(t *testing.T) {
	n := onNode(t)
	n.Configure(t, "renew: {before: 400d}\n")
	words := []string{"renew.before", "400d", "not shorter than the lifetime", "apiserver"}
	if err := story.Contains(n.Exits(t, 3, "kubecertd", "config", "check"), words...); err != nil {
		t.Error(err)
	}
	if result, err := n.Try("systemctl", "start", "kubecertd"); err == nil {
		t.Errorf("systemctl start ends well: %s%s", result.Stdout, result.Stderr)
	}
	n.AwaitSaid(t, 10*time.Second, "", words...)
}

// A configuration that is wrong at a reload is refused, and the old one stays in force.
func TestConfigurationBrokenAtReload(t *testing.T) {
	n := onNode(t)
	n.Configure(t, story.Soon)
	n.Start(t)
	before := n.Unit(t, "kubecertd")

	n.Configure(t, "check: {intervall: 1h}\n")
	n.MustRun(t, "systemctl", "reload", "kubecertd")
	n.AwaitSaid(t, 10*time.Second, renew.EventReloaded, "configuration refused", "old one stays in force", "check.intervall")
	// What is in force is still soon: a closed gate is looked at again in a second, not
	// in a minute.
	n.MustRun(t, "systemctl", "stop", "kubelet")
	n.Age(t, "admin.conf")
	n.AwaitEvent(t, 10*time.Second, renew.EventBlocked)
	n.MustRun(t, "systemctl", "start", "kubelet")
	n.AwaitDone(t, 30*time.Second)

	n.Configure(t, story.Soon+"log: {level: debug}\n")
	n.MustRun(t, "systemctl", "reload", "kubecertd")
	n.AwaitSaid(t, 10*time.Second, renew.EventReloaded, "configuration read again")
	after := n.Unit(t, "kubecertd")
	if after["ActiveState"] != "active" || after["MainPID"] != before["MainPID"] {
		t.Errorf("the unit was %v and is %v: want the same process", before, after)
	}
}

// There is one daemon on a node; a second one says who is there, and leaves.
func TestSecondDaemon(t *testing.T) {
	n := onNode(t)
	n.Start(t)
	before := n.Observe(t)
	u := n.Unit(t, "kubecertd")
	if err := story.Contains(n.Exits(t, 4, "kubecertd", "run"), "another daemon", "process "+u["MainPID"]); err != nil {
		t.Error(err)
	}
	n.Untouched(t, before)
	if now := n.Unit(t, "kubecertd"); now["MainPID"] != u["MainPID"] || now["ActiveState"] != "active" {
		t.Errorf("the first was %v and is %v", u, now)
	}
}

// Without a D-Bus daemon the job is done all the same: systemd is asked through its
// own socket.
func TestWithoutDBus(t *testing.T) {
	due := []string{"apiserver-kubelet-client"} // for which the kubelet is restarted
	n := onNode(t)
	t.Cleanup(func() { n.MustRun(t, "systemctl", "start", "dbus.socket") })
	n.Configure(t, story.Soon)
	n.Start(t)
	n.AwaitEvent(t, 10*time.Second, renew.EventLooked)
	before := n.Observe(t)
	// It has a connection, and loses it.
	n.MustRun(t, "systemctl", "stop", "dbus.socket", "dbus.service")
	if result, err := n.Try("busctl", "status"); err == nil {
		t.Fatalf("D-Bus still answers: %s", result.Stdout)
	}
	n.Age(t, due...)
	n.AwaitDone(t, time.Minute)
	story.Eventually(t, 20*time.Second, n.Settled)
	n.RestartedOnce(t, before, "kube-apiserver")
	n.KubeletRestarted(t, before, true)
	if text := story.Said(n.Events(t, renew.EventBlocked)); text != "" {
		t.Errorf("blocked meanwhile:\n%s", text)
	}
}

// A daemon that hangs is started anew by systemd's watchdog.
func TestWatchdog(t *testing.T) {
	n := onNode(t)
	n.Override(t, "WatchdogSec=2s", "RestartSec=1s")
	n.Start(t)
	pid, err := n.Pid("kubecertd")
	if err != nil {
		t.Fatal(err)
	}
	// It gives signs of life as long as it can.
	began := n.Unit(t, "kubecertd")
	story.Eventually(t, 20*time.Second, func() error {
		if age := time.Since(n.AwaitEvent(t, time.Second, renew.EventLooked).Time()); age < 5*time.Second {
			return fmt.Errorf("it has been running for only %s", age)
		}
		return nil
	})
	if u := n.Unit(t, "kubecertd"); u["InvocationID"] != began["InvocationID"] || u["NRestarts"] != "0" {
		t.Fatalf("the unit was %v and is %v without having hung", began, u)
	}

	if err := n.Freeze(t.Context(), pid); err != nil {
		t.Fatal(err)
	}
	story.Eventually(t, 30*time.Second, func() error {
		u := n.Unit(t, "kubecertd")
		if u["NRestarts"] != "1" || u["ActiveState"] != "active" || u["MainPID"] == fmt.Sprint(pid) {
			return fmt.Errorf("the unit is %v", u)
		}
		return nil
	})
	n.AwaitSaid(t, 10*time.Second, "", "Watchdog timeout")
	story.Eventually(t, 10*time.Second, n.Settled)
}
