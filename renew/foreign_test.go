package renew_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// vip adds a static pod of others to the node, which mounts a file of the host.
func (n *fakeNode) vip(mounted string) {
	n.t.Helper()
	renew.ShortSteady(n.t)
	n.files.Write("/etc/kubernetes/manifests/kube-vip.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: kube-vip}\nspec:\n"+
		"  containers:\n  - {name: kube-vip, volumeMounts: [{name: a, mountPath: /a}]}\n  volumes:\n  - {name: a, hostPath: {path: "+mounted+"}}\n")
	n.pods["kube-vip"] = renew.Component{Name: "kube-vip", Pod: "kube-vip-cp1", Version: "v0.8.0", ID: "kube-vip-1", Running: true,
		Started: time.Now().Add(-354 * pkitest.Day)}
	// The container of another pod has the same name and is nobody's business.
	n.pods["other"] = renew.Component{Name: "kube-vip", Pod: "other-cp1", ID: "other-1", Running: true, Started: time.Now().Add(-354 * pkitest.Day)}
}

// A static pod of others is restarted once for what it mounts, and proven by its start.
func TestRunForeign(t *testing.T) {
	n := newFakeNode(t)
	n.vip("/etc/kubernetes/admin.conf")
	id, _, err := n.Act(t.Context(), renew.Wish{}, "test")
	if err != nil {
		t.Fatal(err)
	}
	var stopped []string
	for _, step := range n.done() {
		if name, ok := strings.CutPrefix(step, "stop "); ok || step == "restart kubelet" {
			stopped = append(stopped, name)
		}
		if step == "healthy kube-vip" {
			t.Error("its health was asked for, which nobody knows where to ask")
		}
	}
	want := []string{"kube-apiserver-1", "etcd-1", "kube-controller-manager-1", "kube-scheduler-1", "kube-vip-1", "restart kubelet"}
	if diff := cmp.Diff(want, stopped); diff != "" {
		t.Errorf("stopped (-want +got):\n%s", diff)
	}
	runs, _ := n.State.History()
	if run := runs[len(runs)-1]; run.ID != id || !slices.Contains(run.Restarted, "kube-vip") {
		t.Errorf("the run: %+v", run)
	}
	look := n.Look(t.Context(), renew.Wish{})
	if look.Plan.Work() {
		t.Errorf("there is still something to do: %+v", look.Plan)
	}
	for _, p := range look.Proofs {
		if p.Component == "kube-vip" && (p.Verdict != renew.Loaded || p.Certificate != "admin.conf") {
			t.Errorf("%+v", p)
		}
	}
}

// One that does not stay up fails the run, whatever it says of credentials: what it is
// restarted for is not put back for that.
func TestRunForeignDoesNotStayUp(t *testing.T) {
	n := newFakeNode(t)
	n.vip("/etc/kubernetes/admin.conf")
	n.Restarts.Healthy = 500 * time.Millisecond
	n.said = map[string]string{"kube-vip": "Unauthorized"}
	n.listed = func(list []renew.Component) {
		for i := range list {
			if strings.HasPrefix(list[i].ID, "kube-vip-2") {
				list[i].Running, list[i].Detail = false, "exited with 1"
			}
		}
	}
	_, _, err := n.Act(t.Context(), renew.Wish{Names: []string{"admin.conf"}}, "test")
	if err == nil || !strings.Contains(err.Error(), "kube-vip was started again and does not stay up") || !strings.Contains(err.Error(), "exited with 1") {
		t.Errorf("the run: %v", err)
	}
	runs, _ := n.State.History()
	for _, e := range runs[len(runs)-1].Entries {
		if strings.HasPrefix(e.Step, "put back") {
			t.Errorf("%+v", e)
		}
	}
}

// A sidecar is never helped at the cost of the component that it is beside.
func TestRunForeignSidecar(t *testing.T) {
	n := newFakeNode(t)
	renew.ShortSteady(t)
	n.files.Write("/etc/kubernetes/manifests/kube-scheduler.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: kube-scheduler}\nspec:\n"+
		"  containers:\n  - {name: kube-scheduler}\n  - {name: side, volumeMounts: [{name: a, mountPath: /a}]}\n"+
		"  volumes:\n  - {name: a, hostPath: {path: /etc/kubernetes/admin.conf}}\n")
	n.pods["side"] = renew.Component{Name: "side", Pod: "kube-scheduler-cp1", ID: "side-1", Running: true, Started: time.Now().Add(-354 * pkitest.Day)}
	n.Restarts.Healthy = 500 * time.Millisecond
	n.listed = func(list []renew.Component) {
		for i := range list {
			// It is stopped, and none comes after it.
			if list[i].Pod != "" && slices.Contains(n.steps, "stop side-1") {
				list[i].Running = false
			}
		}
	}
	_, _, err := n.Act(t.Context(), renew.Wish{}, "test")
	if err == nil || !strings.Contains(err.Error(), "kube-scheduler/side was started again and does not stay up") {
		t.Errorf("the run: %v", err)
	}
	for _, step := range n.done() {
		if strings.HasPrefix(step, "stop pod") {
			t.Error(step)
		}
	}
}

// What lies in a directory that it mounts may never be read by it, and does not keep it
// from being restarted when it cannot be used.
func TestRunForeignDirectory(t *testing.T) {
	n := newFakeNode(t)
	n.vip("/etc/kubernetes")
	n.files.Issue("super-admin.conf", time.Now().Add(-400*pkitest.Day), time.Now().Add(-pkitest.Day))
	n.instead("super-admin.conf", "exit 1")
	_, _, err := n.Act(t.Context(), renew.Wish{}, "test")
	if err == nil || strings.Contains(err.Error(), "not restarted") || !slices.Contains(n.done(), "stop kube-vip-1") {
		t.Errorf("the run: %v\n%q", err, n.done())
	}
}
