//go:build linux

package e2e_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// failure is one thing that is broken, while certificates are due.
type failure struct {
	name string
	// configuration in addition to soon.
	configuration string
	// Breaks and mends are commands of a shell.
	breaks, mends string
	// Without is what the test cannot ask either while it is broken.
	without string
	// Blocked is what the journal and `plan` must say when a gate is closed. Failed is
	// what the journal must say of a run that fails.
	blocked, failed []string
	// Renewed and restarted are what is done all the same.
	renewed, restarted []string
}

// kubeadm makes a kubeadm of a story, which does this when it is to renew; $3 is the
// certificate.
func kubeadm(onRenew string) string {
	return fakeKubeadm("exec /usr/bin/kubeadm \"$@\"", onRenew)
}

func fakeKubeadm(onVersion, onRenew string) string {
	return fmt.Sprintf(`cat > /opt/e2e/new <<'SCRIPT'
#!/bin/sh
case $1 in
version) %s ;;
certs) %s ;;
esac
SCRIPT
chmod 755 /opt/e2e/new
mv /opt/e2e/new /opt/e2e/kubeadm`, onVersion, onRenew)
}

// good is a kubeadm that works.
var good = kubeadm(`exec /usr/bin/kubeadm "$@"`)

const ours = "renew: {kubeadm: /opt/e2e/kubeadm, timeout: 3s}\n"

var failures = []failure{
	{
		name: "kubelet stopped", without: "kubelet",
		breaks: "systemctl stop kubelet", mends: "systemctl start kubelet",
		blocked: []string{"kubelet", "not active", "systemctl start kubelet"},
	},
	{
		name:   "kubeadm moved away",
		breaks: "mv /usr/bin/kubeadm /opt/e2e/away", mends: "mv /opt/e2e/away /usr/bin/kubeadm",
		blocked: []string{"kubeadm", "not found", "install kubeadm", "renew.kubeadm"},
	},
	{
		name: "kubeadm not executable", configuration: ours,
		breaks: good + " && chmod 644 /opt/e2e/kubeadm", mends: "chmod 755 /opt/e2e/kubeadm",
		blocked: []string{"/opt/e2e/kubeadm", "not executable"},
	},
	{
		name: "kubeadm too old", configuration: ours,
		breaks: fakeKubeadm("echo v1.18.0", "exit 1"), mends: good,
		blocked: []string{"/opt/e2e/kubeadm is v1.18.0", "v1.20 or later"},
	},
	{
		name: "kubeadm fails", configuration: ours,
		breaks: kubeadm("echo 'error: CA key not found' >&2; exit 1"), mends: good,
		failed: []string{"/opt/e2e/kubeadm certs renew scheduler.conf", "exit status 1", "CA key not found"},
	},
	{
		name: "kubeadm fails for one certificate", configuration: ours,
		breaks: kubeadm(`if [ "$3" = admin.conf ]; then echo 'error: disk quota exceeded' >&2; exit 1; fi; exec /usr/bin/kubeadm "$@"`), mends: good,
		failed:  []string{"/opt/e2e/kubeadm certs renew admin.conf", "exit status 1", "disk quota exceeded"},
		renewed: []string{"scheduler.conf"}, restarted: []string{"kube-scheduler"},
	},
	{
		name: "kubeadm hangs", configuration: ours,
		breaks: kubeadm("sleep 4711"), mends: good,
		failed: []string{"/opt/e2e/kubeadm certs renew", "did not end within 3s and was killed", "no further certificate is renewed"},
	},
	{
		name: "kubeadm lies", configuration: ours,
		breaks: kubeadm("echo 'Done renewing certificates.'; exit 0"), mends: good,
		failed: []string{"/etc/kubernetes/scheduler.conf is unchanged on disk although kubeadm reported no error"},
	},
	{
		name: "containerd stopped", without: "containerd",
		breaks: "systemctl stop containerd", mends: "systemctl start containerd",
		blocked: []string{"containerd", "not answering", "systemctl status containerd"},
	},
	{
		// D-Bus alone is not enough: systemd has a socket of its own for root.
		name: "systemd cannot be reached", without: "systemd",
		breaks:  "systemctl stop dbus.socket dbus.service && mv /run/systemd/private /run/systemd/away",
		mends:   "mv /run/systemd/away /run/systemd/private && systemctl start dbus.socket",
		blocked: []string{"systemd cannot be reached", "systemctl status dbus"},
	},
}

// Each failure has its clear error, leaves nothing half done, and is over by itself
// once its cause is gone.
func TestFailures(t *testing.T) {
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) { f.tell(t) })
	}
}

func (f failure) tell(t *testing.T) {
	due := []string{"admin.conf", "scheduler.conf"}
	n := onNode(t)
	n.Configure(t, story.Soon+f.configuration)
	n.MustRun(t, "sh", "-e", "-c", good)
	n.Start(t)
	n.AwaitEvent(t, 10*time.Second, renew.EventLooked)
	before := n.Observe(t)
	mended := false
	mend := func() {
		if !mended {
			mended = true
			n.MustRun(t, "sh", "-e", "-c", f.mends)
		}
	}
	t.Cleanup(mend)
	n.MustRun(t, "sh", "-e", "-c", f.breaks)
	n.Age(t, due...) // which wakes the daemon
	if len(f.renewed) == 0 {
		before.Files = n.Files(t)
	}

	if len(f.blocked) > 0 {
		f.closesGate(t, n)
	} else {
		f.failsRun(t, n)
	}
	for _, name := range due {
		if got, want := n.Renewed(t, name), slices.Contains(f.renewed, name); got != want {
			t.Errorf("%s: renewed = %t, want %t", name, got, want)
		}
	}
	f.leaves(t, n, before)

	mend()
	story.Eventually(t, time.Minute, n.Settled)
	for _, name := range due {
		if !n.Renewed(t, name) {
			t.Errorf("%s was not renewed in the end", name)
		}
	}
	n.RestartedOnce(t, before, "kube-scheduler")
	if u := n.Unit(t, "kubecertd"); u["ActiveState"] != "active" || u["NRestarts"] != "0" {
		t.Errorf("the daemon did not last: %v", u)
	}
}

// closesGate waits for the error of a closed gate, and asks the commands for it.
func (f failure) closesGate(t *testing.T, n *node) {
	t.Helper()
	n.AwaitSaid(t, 20*time.Second, renew.EventBlocked, f.blocked...)
	if err := story.Contains(n.Exits(t, 2, "kubecertd", "plan"), append([]string{"Blocked; nothing is touched"}, f.blocked...)...); err != nil {
		t.Errorf("plan: %v", err)
	}
	if err := story.Contains(n.Exits(t, 4, "kubecertd", "renew"), append([]string{"blocked by"}, f.blocked...)...); err != nil {
		t.Errorf("renew: %v", err)
	}
	if f.without != "systemd" {
		if err := story.Contains(n.Unit(t, "kubecertd")["StatusText"], "blocked by"); err != nil {
			t.Errorf("systemctl status: %v", err)
		}
	}
	if runs := n.History(t); len(runs) != 0 {
		t.Errorf("a closed gate is no run: %+v", runs)
	}
}

// failsRun waits for the error of a failed run, and until it has been tried again.
func (f failure) failsRun(t *testing.T, n *node) {
	t.Helper()
	story.Eventually(t, 40*time.Second, func() error {
		failed := n.Events(t, renew.EventRunFailed)
		if len(failed) < 2 {
			return fmt.Errorf("%d failed runs: want that it is tried again", len(failed))
		}
		for _, e := range failed {
			if e["PRIORITY"] != "3" || e["RUN_ID"] == "" {
				t.Errorf("a failed run: priority %s, id %q", e["PRIORITY"], e["RUN_ID"])
			}
			if err := story.Contains(e.Message(), f.failed...); err != nil {
				t.Errorf("the journal of a failed run: %v", err)
			}
		}
		return nil
	})
	runs := n.History(t)
	if len(runs) < 2 {
		t.Fatalf("history: %+v", runs)
	}
	for _, run := range runs[:2] {
		if err := story.Contains(run.Error, f.failed...); run.Outcome != renew.Failed || err != nil {
			t.Errorf("history: %s: %v", run.Outcome, err)
		}
	}
	if left, err := n.Pids("sleep"); err != nil || len(left) > 1 {
		t.Errorf("what a hanging kubeadm had started is left: processes %v (%v)", left, err)
	}
}

// leaves demands that nothing has changed but what the failure does not stand in the
// way of.
func (f failure) leaves(t *testing.T, n *node, before story.State) {
	t.Helper()
	switch {
	case f.without == "containerd" || f.without == "systemd":
		// The rest is asked once it is mended.
		if diff := cmp.Diff(before.Files, n.Files(t)); diff != "" {
			t.Errorf("files (-before +after):\n%s", diff)
		}
	case f.without == "kubelet":
		before.Kubelet = n.Unit(t, "kubelet")["InvocationID"]
		n.Untouched(t, before)
	case len(f.renewed) == 0:
		n.Untouched(t, before)
	default:
		n.RestartedOnce(t, before, f.restarted...)
		n.KubeletRestarted(t, before, false)
	}
}
