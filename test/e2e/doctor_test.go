//go:build linux

package e2e_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
	"github.com/kubecertd/kubecertd/test/story"
)

// diagnosis is what doctor says, how it ends, and how long it takes.
func diagnosis(t *testing.T, n *node) (found []renew.Finding, code int, took time.Duration) {
	t.Helper()
	began := time.Now()
	result, _ := n.Try("kubecertd", "doctor", "--output=json")
	took = time.Since(began)
	var d report.Diagnosis
	if err := json.Unmarshal([]byte(result.Stdout), &d); err != nil {
		t.Fatalf("%v: %s%s", err, result.Stdout, result.Stderr)
	}
	return d.Findings, result.ExitCode, took
}

// onDisk is everything that could be changed: names, modes, times and contents.
func onDisk(t *testing.T, n *node) string {
	t.Helper()
	return n.MustRun(t, "sh", "-c",
		"find /etc/kubernetes /var/lib/kubelet/pki "+story.StateDir+" -printf '%p %M %U %G %T@ %l\n' | sort; find /etc/kubernetes "+story.StateDir+" -type f -exec sha256sum {} + | sort")
}

// On a node where all is well doctor has nothing to say that anybody must do.
func TestDoctorOnAHealthyNode(t *testing.T) {
	n := onNode(t)
	n.Start(t)
	story.Eventually(t, 30*time.Second, n.Settled)
	before := onDisk(t, n)
	found, code, took := diagnosis(t, n)
	t.Logf("doctor took %s and says %+v", took.Round(time.Millisecond), found)
	if code != 0 || slices.ContainsFunc(found, func(f renew.Finding) bool { return f.Severity != renew.Info }) {
		t.Errorf("exit code %d: %+v", code, found)
	}
	if diff := cmp.Diff(before, onDisk(t, n)); diff != "" {
		t.Errorf("it changed something:\n%s", diff)
	}
	if said := n.Exits(t, 0, "kubecertd", "doctor"); !strings.HasPrefix(said, "Nothing is wrong.") {
		t.Errorf("it says %q", said)
	}
}

// On the worst node it ends within seconds, says what is worst first, and changes
// nothing: the kubelet and the runtime are down, certificates have run out, the address
// of the cluster is a black hole, and nobody runs the daemon.
func TestDoctorOnTheWorstNode(t *testing.T) {
	n := onNode(t)
	n.Expire(t, "apiserver", "scheduler.conf", "admin.conf")
	n.MustRun(t, "systemctl", "stop", "kubelet")
	n.MustRun(t, "sh", "-c", "crictl stop $(crictl ps -q) >/dev/null 2>&1 || ctr -n k8s.io tasks kill --all $(ctr -n k8s.io tasks ls -q) || true")
	n.MustRun(t, "systemctl", "stop", "containerd")
	n.MustRun(t, "iptables", "-I", "INPUT", "-p", "tcp", "--dport", "6443", "-j", "DROP")
	t.Cleanup(func() {
		n.MustRun(t, "iptables", "-D", "INPUT", "-p", "tcp", "--dport", "6443", "-j", "DROP")
		n.MustRun(t, "systemctl", "start", "containerd", "kubelet")
		n.MustRun(t, "systemctl", "start", "kubecertd")
		story.Eventually(t, 5*time.Minute, n.Settled)
	})
	before := onDisk(t, n)
	found, code, took := diagnosis(t, n)
	t.Logf("doctor took %s", took.Round(time.Millisecond))
	if took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	var ids []string
	worst := renew.Critical
	for _, f := range found {
		ids = append(ids, f.ID)
		if f.Severity == renew.Critical && worst != renew.Critical {
			t.Errorf("%s is critical and comes after what is not", f.ID)
		}
		worst = f.Severity
	}
	for _, want := range []string{"daemon-down", "kubelet-down", "runtime-unreachable", "certificate-due"} {
		if !slices.Contains(ids, want) {
			t.Errorf("%s is not among %q", want, ids)
		}
	}
	if diff := cmp.Diff(before, onDisk(t, n)); diff != "" {
		t.Errorf("it changed something:\n%s", diff)
	}
}
