package renew_test

import (
	"encoding/base64"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// down makes components of a fake node ones that crashed.
func (n *fakeNode) crashed(names ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range names {
		c := n.pods[name]
		c.Running, c.Detail, c.Restarts = false, "exited with 1", 5
		n.pods[name] = c
	}
	n.onKubelet = func() {
		for _, name := range names {
			c := n.pods[name]
			c.ID, c.Running, c.Started = name+"-6", true, time.Now()
			n.pods[name] = c
		}
	}
}

// A component that crashes on what is damaged blocks nothing, and does not have to wait
// for the kubelet's patience.
func TestRepairRevives(t *testing.T) {
	t.Parallel()
	n := sound(t, true)
	empty("/etc/kubernetes/controller-manager.conf")(n)
	n.crashed(renew.ControllerManager)
	n.Policy.Restart.Default = renew.RestartAuto
	id, look, err := n.Act(t.Context(), renew.Wish{}, "file")
	if err != nil {
		t.Fatalf("%v, after %q with %+v", err, n.done(), look.Plan)
	}
	if steps := n.done(); !slices.Contains(steps, "restart kubelet") || steps[len(steps)-1] != "healthy kube-controller-manager" {
		t.Errorf("steps %q: want the kubelet restarted, and the component awaited", steps)
	}
	runs, _ := n.State.History()
	if diff := cmp.Diff([]string{renew.ControllerManager}, runs[0].Restarted); diff != "" || runs[0].ID != id {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
}

// A kubelet that must not be restarted is waited for.
func TestRepairWaits(t *testing.T) {
	t.Parallel()
	n := sound(t, true)
	empty("/etc/kubernetes/controller-manager.conf")(n)
	n.crashed(renew.ControllerManager)
	n.Policy.Restart.Of = map[string]renew.RestartPolicy{renew.Kubelet: renew.RestartNever}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "file"); err != nil {
		t.Fatal(err)
	}
	if steps := n.done(); slices.Contains(steps, "restart kubelet") || steps[len(steps)-1] != "healthy kube-controller-manager" {
		t.Errorf("steps %q", steps)
	}
}

// What is down because of etcd, which is down because of what is damaged, blocks nothing
// either; what is down for another reason does.
func TestRepairBlocked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		damaged string
		down    []string
		blocked []string
	}{
		{"etcd and all that needs it", "/etc/kubernetes/pki/etcd/server.crt", renew.Order[:4], nil},
		{"the API server and what needs it", apiserverCertificate, []string{renew.APIServer, renew.Scheduler}, nil},
		{"something else", "/etc/kubernetes/controller-manager.conf", []string{renew.ControllerManager, renew.Scheduler}, []string{"component kube-scheduler"}},
		{"etcd, because of another", apiserverCertificate, []string{renew.Etcd, renew.APIServer}, []string{"component etcd"}},
	} {
		n := sound(t, true)
		empty(tt.damaged)(n)
		n.crashed(tt.down...)
		n.peersError = errors.New("connection refused")
		var blocked []string
		for _, g := range n.Look(t.Context(), renew.Wish{}).Plan.Blocked {
			blocked = append(blocked, g.Name)
		}
		if diff := cmp.Diff(tt.blocked, blocked); diff != "" {
			t.Errorf("%s: blocked by (-want +got):\n%s", tt.name, diff)
		}
	}
}

// A repair that fails is tried again later, like a renewal; what is asked for, at once.
func TestRepairRetried(t *testing.T) {
	t.Parallel()
	n := sound(t, false)
	empty(schedulerConf)(n)
	n.instead("scheduler.conf", "echo no room >&2; exit 1")
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "file"); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Fatalf("error %v", err)
	}
	look := n.Look(t.Context(), renew.Wish{})
	if look.Plan.Work() || !strings.Contains(strings.Join(notices(look.Plan), " "), "its repair failed once and is tried again") {
		t.Errorf("the next look plans %+v, and says %q", look.Plan, notices(look.Plan))
	}
	if !n.Look(t.Context(), renew.Wish{Names: []string{"scheduler.conf"}}).Plan.Work() {
		t.Error("what is asked for waits")
	}
	n.later(time.Hour)
	if !n.Look(t.Context(), renew.Wish{}).Plan.Work() {
		t.Error("it is not tried again")
	}
}

// notices are what a plan says to a person.
func notices(p renew.Plan) (list []string) {
	for _, n := range p.Notices {
		list = append(list, n.String())
	}
	return list
}

// A copy that has run out, or is asked for, is put back and then renewed, in one run:
// subject and names are those that it had.
func TestRepairRenews(t *testing.T) {
	t.Parallel()
	n := sound(t, true)
	n.renewAgain("apiserver")
	both(empty(apiserverCertificate), remove(apiserverKey))(n)
	if _, _, err := n.Act(t.Context(), renew.Wish{Names: []string{"apiserver"}}, "file"); err != nil {
		t.Fatal(err)
	}
	if calls := n.calls(); !slices.Contains(calls, "apiserver") || slices.Contains(calls, "make apiserver") {
		t.Errorf("kubeadm: %q; want it renewed", calls)
	}
	runs, _ := n.State.History()
	var steps []string
	for _, e := range runs[0].Entries {
		if strings.HasSuffix(e.Step, " apiserver") && e.Event == "end" {
			steps = append(steps, e.Step+" "+e.Error)
		}
	}
	if diff := cmp.Diff([]string{"restore apiserver ", "renew apiserver "}, steps); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	layout, _ := n.Locate()
	if c, _ := (renew.Observation{Certificates: layout.Read(n.Now())}).Certificate("apiserver"); c.State != pki.OK {
		t.Errorf("it is %s: %s", c.State, c.Reason)
	}
}

// admin.conf, which people take away on purpose, is made when it is asked for.
func TestRepairAsked(t *testing.T) {
	t.Parallel()
	n := sound(t, false)
	n.renewAgain("admin.conf")
	remove(adminConf)(n)
	if id, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); id != "" || err != nil {
		t.Fatalf("run %q, %v: want nothing to be done by itself", id, err)
	}
	if said := n.Look(t.Context(), renew.Wish{}).Plan.Notices; len(said) != 1 || said[0].Severity != renew.Info || !strings.Contains(said[0].Remedy, "kubecertd renew admin.conf") {
		t.Errorf("said %+v: want that it is gone, and how to have it made", said)
	}
	if _, _, err := n.Act(t.Context(), renew.Wish{Names: []string{"admin.conf"}}, "person"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"make admin.conf"}, n.calls()); diff != "" {
		t.Errorf("kubeadm (-want +got):\n%s", diff)
	}
}

// The names of a certificate that is made anew are also those that a copy had, though it
// cannot be used any more, and those that are still served.
func TestRepairKeepsNames(t *testing.T) {
	t.Parallel()
	n := sound(t, true)
	n.good("apiserver")
	// The CA was replaced since.
	n.files.CA("ca", n.Now().Add(-time.Hour), n.Now().Add(3650*day))
	n.files.Issue("kubelet-client", n.Now().Add(-time.Hour), n.Now().Add(365*day))
	authority := regexp.MustCompile("certificate-authority-data: .*")
	kubelet := authority.ReplaceAll(n.read(n.files.Path("/etc/kubernetes/kubelet.conf")),
		[]byte("certificate-authority-data: "+base64.StdEncoding.EncodeToString(n.read(n.files.Path("/etc/kubernetes/pki/ca.crt")))))
	n.files.Write("/etc/kubernetes/kubelet.conf", string(kubelet))
	n.good("apiserver")
	empty(apiserverCertificate)(n)
	_, _, _ = n.Act(t.Context(), renew.Wish{Names: []string{"apiserver"}}, "person")
	config := string(n.read(n.dir + "/config-apiserver"))
	if !strings.Contains(config, "certSANs:\n  - cp1\n  - localhost\n  - kubernetes\n  - 127.0.0.1\n  - 192.0.2.11\n") {
		t.Errorf("kubeadm was not told the names of the copy:\n%s", config)
	}
}
