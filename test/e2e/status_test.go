//go:build linux

package e2e_test

import (
	"strings"
	"testing"
	"time"
)

// Ports that answer nobody cost a look no more than its own deadline, and are named.
func TestStatusBlackHoled(t *testing.T) {
	n := onNode(t)
	const ports = "6443 2379 2380 10250 10257 10259"
	rules := func(action string) string {
		return "for p in " + ports + "; do iptables " + action + " INPUT -p tcp --dport $p -j DROP; done"
	}
	n.MustRun(t, "sh", "-c", rules("-I"))
	t.Cleanup(func() { n.MustRun(t, "sh", "-c", rules("-D")) })

	began := time.Now()
	out := n.MustRun(t, "kubecertd", "status")
	t.Logf("status with every port black-holed took %s", time.Since(began).Round(time.Millisecond))
	for port := range strings.FieldsSeq(ports) {
		if !strings.Contains(out, ":"+port+" within ") {
			t.Errorf("port %s is not named as silent in:\n%s", port, out)
		}
	}
	// What is on disk and when processes started is known all the same.
	for _, want := range []string{"apiserver ", "scheduler.conf ", "loaded"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if _, err := n.Try("kubecertd", "plan"); err != nil {
		t.Errorf("silence alone is something to do: %v", err)
	}
}
