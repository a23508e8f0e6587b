//go:build linux

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
)

// override changes settings of the unit's [Service] for one story.
func (n *node) override(t *testing.T, settings ...string) {
	t.Helper()
	n.mustRun(t, "mkdir", "-p", dropIn)
	n.write(t, dropIn+"/e2e.conf", "[Service]\n"+strings.Join(settings, "\n")+"\n", 0o644)
	n.mustRun(t, "systemctl", "daemon-reload")
}

// A wrong configuration keeps the daemon from starting and names every key, until it
// is put right.
func TestConfigurationBrokenAtStart(t *testing.T) {
	n := onNode(t)
	n.override(t, "RestartSec=1s")
	n.configure(t, "renew: {befor: 30d}\ncheck: {interval: soon}\n")
	before := n.observe(t)
	if result, err := n.run("systemctl", "start", "kubecertd"); err == nil {
		t.Errorf("systemctl start ends well: %s%s", result.Stdout, result.Stderr)
	}
	if u := n.unit(t, "kubecertd"); u["ExecMainStatus"] != "3" || u["ActiveState"] == "active" {
		t.Errorf("the unit is %v: want exit code 3", u)
	}
	words := []string{"renew.befor", "check.interval", "soon", configFile}
	n.awaitSaid(t, 10*time.Second, "", words...)
	if err := contains(n.exits(t, 3, "kubecertd", "config", "check"), words...); err != nil {
		t.Errorf("config check: %v", err)
	}
	n.untouched(t, before)

	n.configure(t, soon)
	eventually(t, 10*time.Second, func() error {
		if u := n.unit(t, "kubecertd"); u["ActiveState"] != "active" {
			return fmt.Errorf("the unit is %v", u)
		}
		return nil
	})
}

// A threshold that no certificate of this node can meet is refused where a person
// looks.
func TestThresholdLongerThanLifetime(t *testing.T) {
	n := onNode(t)
	n.configure(t, "renew: {before: 400d}\n")
	words := []string{"renew.before", "400d", "not shorter than the lifetime", "apiserver"}
	if err := contains(n.exits(t, 3, "kubecertd", "config", "check"), words...); err != nil {
		t.Error(err)
	}
	if result, err := n.run("systemctl", "start", "kubecertd"); err == nil {
		t.Errorf("systemctl start ends well: %s%s", result.Stdout, result.Stderr)
	}
	n.awaitSaid(t, 10*time.Second, "", words...)
}

// A configuration that is wrong at a reload is refused, and the old one stays in force.
func TestConfigurationBrokenAtReload(t *testing.T) {
	n := onNode(t)
	n.configure(t, soon)
	n.start(t)
	before := n.unit(t, "kubecertd")

	n.configure(t, "check: {intervall: 1h}\n")
	n.mustRun(t, "systemctl", "reload", "kubecertd")
	n.awaitSaid(t, 10*time.Second, renew.EventReloaded, "configuration refused", "old one stays in force", "check.intervall")
	// What is in force is still soon: a closed gate is looked at again in a second, not
	// in a minute.
	n.mustRun(t, "systemctl", "stop", "kubelet")
	n.age(t, "admin.conf")
	n.awaitEvent(t, 10*time.Second, renew.EventBlocked)
	n.mustRun(t, "systemctl", "start", "kubelet")
	n.awaitDone(t, 30*time.Second)

	n.configure(t, soon+"log: {level: debug}\n")
	n.mustRun(t, "systemctl", "reload", "kubecertd")
	n.awaitSaid(t, 10*time.Second, renew.EventReloaded, "configuration read again")
	after := n.unit(t, "kubecertd")
	if after["ActiveState"] != "active" || after["MainPID"] != before["MainPID"] {
		t.Errorf("the unit was %v and is %v: want the same process", before, after)
	}
}

// There is one daemon on a node; a second one says who is there, and leaves.
func TestSecondDaemon(t *testing.T) {
	n := onNode(t)
	n.start(t)
	before := n.observe(t)
	u := n.unit(t, "kubecertd")
	if err := contains(n.exits(t, 4, "kubecertd", "run"), "another daemon", "process "+u["MainPID"]); err != nil {
		t.Error(err)
	}
	n.untouched(t, before)
	if now := n.unit(t, "kubecertd"); now["MainPID"] != u["MainPID"] || now["ActiveState"] != "active" {
		t.Errorf("the first was %v and is %v", u, now)
	}
}

// Without a D-Bus daemon the job is done all the same: systemd is asked through its
// own socket.
func TestWithoutDBus(t *testing.T) {
	due := []string{"apiserver-kubelet-client"} // for which the kubelet is restarted
	n := onNode(t)
	t.Cleanup(func() { n.mustRun(t, "systemctl", "start", "dbus.socket") })
	n.configure(t, soon)
	n.start(t)
	n.awaitEvent(t, 10*time.Second, renew.EventLooked)
	before := n.observe(t)
	// It has a connection, and loses it.
	n.mustRun(t, "systemctl", "stop", "dbus.socket", "dbus.service")
	if result, err := n.run("busctl", "status"); err == nil {
		t.Fatalf("D-Bus still answers: %s", result.Stdout)
	}
	n.age(t, due...)
	n.awaitDone(t, time.Minute)
	eventually(t, 20*time.Second, n.settled)
	n.restartedOnce(t, before, "kube-apiserver")
	n.kubeletRestarted(t, before, true)
	if text := said(n.journal(t, renew.EventBlocked)); text != "" {
		t.Errorf("blocked meanwhile:\n%s", text)
	}
}

// A daemon that hangs is started anew by systemd's watchdog.
func TestWatchdog(t *testing.T) {
	n := onNode(t)
	n.override(t, "WatchdogSec=2s", "RestartSec=1s")
	n.start(t)
	pid, err := n.Pid("kubecertd")
	if err != nil {
		t.Fatal(err)
	}
	// It gives signs of life as long as it can.
	began := n.unit(t, "kubecertd")
	eventually(t, 20*time.Second, func() error {
		if age := time.Since(n.awaitEvent(t, time.Second, renew.EventLooked).Time()); age < 5*time.Second {
			return fmt.Errorf("it has been running for only %s", age)
		}
		return nil
	})
	if u := n.unit(t, "kubecertd"); u["InvocationID"] != began["InvocationID"] || u["NRestarts"] != "0" {
		t.Fatalf("the unit was %v and is %v without having hung", began, u)
	}

	if err := n.Freeze(t.Context(), pid); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() error {
		u := n.unit(t, "kubecertd")
		if u["NRestarts"] != "1" || u["ActiveState"] != "active" || u["MainPID"] == fmt.Sprint(pid) {
			return fmt.Errorf("the unit is %v", u)
		}
		return nil
	})
	n.awaitSaid(t, 10*time.Second, "", "Watchdog timeout")
	eventually(t, 10*time.Second, n.settled)
}
