//go:build linux

package e2e_test

import (
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// A paused daemon touches nothing, across a restart of it, and shows that it is paused;
// resumed, it does by itself and at once what has become due.
func TestPaused(t *testing.T) {
	n := onNode(t)
	// Its next look by the clock is an hour away: what it notices, it was woken by.
	n.Configure(t, "check: {interval: 1h, retry: 1h, settle: 500ms}\n")
	n.Start(t)
	n.AwaitEvent(t, 10*time.Second, renew.EventLooked)
	t.Cleanup(func() { _, _ = n.Try("kubecertd", "resume") })
	if err := story.Contains(n.MustRun(t, "env", "SUDO_USER=ann", "kubecertd", "pause", "--for", "3d", "--reason", "rack move"),
		"paused until", "(by ann: rack move)"); err != nil {
		t.Error(err)
	}
	shown := func() error {
		return story.Contains(n.Unit(t, "kubecertd")["StatusText"], "paused until 2", "(by ann: rack move)")
	}
	story.Eventually(t, 10*time.Second, shown)

	n.Age(t, "scheduler.conf")
	before := n.Observe(t)
	n.AwaitSaid(t, 20*time.Second, renew.EventBlocked, "paused", "rack move", "kubecertd resume")
	n.MustRun(t, "systemctl", "restart", "kubecertd")
	story.Eventually(t, 10*time.Second, shown)
	if err := story.Contains(n.MustRun(t, "systemctl", "status", "--no-pager", "kubecertd"), "paused until 2", "1 to renew: scheduler.conf"); err != nil {
		t.Errorf("systemctl status: %v", err)
	}
	if err := story.Contains(n.MustRun(t, "kubecertd", "status"), "Kubecertd is paused until 2", "(by ann: rack move)", "kubecertd resume"); err != nil {
		t.Errorf("status: %v", err)
	}
	if err := story.Contains(n.Exits(t, 2, "kubecertd", "plan"), "Kubecertd is paused until 2", "  paused: ", "kubecertd resume"); err != nil {
		t.Errorf("plan: %v", err)
	}
	if err := story.Contains(n.Exits(t, 4, "kubecertd", "renew"), "blocked by paused", "rack move", "kubecertd resume"); err != nil {
		t.Errorf("renew: %v", err)
	}
	n.Untouched(t, before)
	if runs := n.History(t); len(runs) != 0 {
		t.Errorf("runs during the pause: %+v", runs)
	}

	n.MustRun(t, "kubecertd", "resume")
	n.AwaitDone(t, time.Minute)
	story.Eventually(t, 20*time.Second, n.Settled)
	if !n.Renewed(t, "scheduler.conf") {
		t.Error("scheduler.conf was not renewed after the pause")
	}
	n.RestartedOnce(t, before, "kube-scheduler")
	if err := story.Contains(n.Unit(t, "kubecertd")["StatusText"], "nothing due until"); err != nil {
		t.Error(err)
	}
}
