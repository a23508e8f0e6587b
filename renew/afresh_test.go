package renew_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// The control plane is started afresh only where nothing of it works, because something
// without which it cannot work has run out.
func TestAfresh(t *testing.T) {
	refuses, noLeader := errors.New("kube-apiserver is not healthy: connection refused"), errors.New("etcd does not list its members")
	tests := []struct {
		name      string
		change    func(*renew.Observation)
		policy    renew.RestartPolicies
		api, etcd error
		peers     []string
		want      []string // of the reason; none: not afresh
	}{
		{name: "everything has run out, and etcd cannot be asked", api: refuses, etcd: noLeader,
			want: []string{"etcd-server", "apiserver-etcd-client", "connection refused", "nor can etcd be asked"}},
		{name: "an etcd of its own", api: refuses, want: []string{"nobody else needs the etcd of this node"}},
		{name: "an etcd with other members", api: refuses, peers: []string{"cp2", "cp3"}, want: []string{"is left running"}},
		{name: "the API server answers", etcd: noLeader},
		{name: "the API server is down for another reason", api: refuses, etcd: noLeader,
			change: func(o *renew.Observation) {
				for i := range o.Certificates {
					if o.Certificates[i].Renewer == pki.Kubeadm {
						due(&o.Certificates[i])
						o.Certificates[i].State = pki.OK
					}
				}
			}},
		{name: "what has run out is of no use to it", api: refuses, etcd: noLeader,
			change: func(o *renew.Observation) {
				for i := range o.Certificates {
					if c := &o.Certificates[i]; c.Name != "admin.conf" && c.Name != "scheduler.conf" {
						c.State, c.NotAfter = pki.OK, now.Add(300*day)
					}
				}
			}},
		{name: "the kubelet does not run", api: refuses, etcd: noLeader,
			change: func(o *renew.Observation) {
				component(o, renew.Kubelet, func(c *renew.Component) { c.Running = false })
			}},
		{name: "the kubelet is not to be restarted", api: refuses, etcd: noLeader,
			policy: renew.RestartPolicies{Of: map[string]renew.RestartPolicy{renew.Kubelet: renew.RestartNever}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := healthy()
			for i := range o.Certificates {
				if o.Certificates[i].Renewer == pki.Kubeadm {
					expired(&o.Certificates[i])
				}
			}
			if tt.change != nil {
				tt.change(&o)
			}
			policy := shipped
			policy.Restart = tt.policy
			got := renew.Afresh(o, renew.Decide(o, policy, renew.Wish{}), policy, tt.api, tt.etcd, tt.peers)
			if (got != "") != (len(tt.want) > 0) {
				t.Errorf("afresh: %q, want it to hold %q", got, tt.want)
			}
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("afresh: %q does not say %q", got, want)
				}
			}
		})
	}
}

// allExpired is a node on which everything that kubeadm renews has run out: etcd runs and
// answers nobody, the scheduler runs and can do nothing, the rest has crashed and is let
// wait by the kubelet until that is restarted.
func allExpired(t *testing.T) *fakeNode {
	n := newFakeNode(t)
	for _, name := range renewable {
		n.files.Issue(name, n.Now().Add(-366*pkitest.Day), n.Now().Add(-pkitest.Day))
	}
	n.files.Touch(n.Now().Add(-366 * pkitest.Day))
	for _, name := range []string{renew.APIServer, renew.ControllerManager} {
		c := n.pods[name]
		c.Running, c.Detail, c.Restarts, c.Started = false, "exited with 1", 7, n.Now().Add(-time.Minute)
		n.pods[name] = c
	}
	n.sick[renew.APIServer] = true
	n.onKubelet = func() {
		for name, c := range n.pods {
			if !c.Running {
				c.ID, c.Running, c.Started = name+"-2", true, time.Now()
				n.pods[name] = c
			}
		}
		delete(n.sick, renew.APIServer)
	}
	return n
}

// acts does what is to be done, and returns the steps that change anything, and what is
// waited for after the first of them.
func (n *fakeNode) acts() ([]string, error) {
	_, look, err := n.Act(n.t.Context(), renew.Wish{}, "start")
	if look.Plan.Afresh != "" && !strings.Contains(look.Plan.Afresh, "kube-apiserver is not healthy") {
		n.t.Errorf("the plan says %q", look.Plan.Afresh)
	}
	return n.done(), err
}

// On its own a node stops what is left, its etcd too, and has all of it started at once.
func TestAfreshAlone(t *testing.T) {
	t.Parallel()
	n := allExpired(t)
	steps, err := n.acts()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"healthy kube-apiserver", "healthy kube-apiserver", "stop etcd-1", "stop kube-scheduler-1", "restart kubelet",
		"healthy etcd", "healthy kube-apiserver", "healthy kube-controller-manager", "healthy kube-scheduler"}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if calls := n.calls(); !slices.Equal(calls, renewable) {
		t.Errorf("renewed %q", calls)
	}
	runs, _ := n.State.History()
	if want := renew.Order[:4]; len(runs) != 1 || runs[0].Outcome != renew.Done || !slices.Equal(runs[0].Restarted, want) {
		t.Errorf("recorded: %+v, want %q restarted", runs, want)
	}
	if look := n.Look(t.Context(), renew.Wish{}); look.Plan.Work() {
		t.Errorf("the next look plans %+v", look.Plan)
	}
}

// An API server that has started since the renewal goes with the etcd that it hangs on.
func TestAfreshAloneWithAnAPIServerThatHangs(t *testing.T) {
	t.Parallel()
	n := allExpired(t)
	n.instead("super-admin.conf", "cp -r "+n.dir+"/new/super-admin.conf/. "+n.files.Root+"/; touch "+n.dir+"/renewed")
	n.listed = func(list []renew.Component) {
		if _, err := os.Stat(n.dir + "/renewed"); err != nil {
			return
		}
		if c := n.pods[renew.APIServer]; c.ID == renew.APIServer+"-1" && !c.Running && !slices.Contains(n.steps, "stop "+c.ID) {
			c.Running, c.Started = true, time.Now()
			n.pods[renew.APIServer] = c
			for i := range list {
				if list[i].Name == renew.APIServer {
					list[i] = c
				}
			}
		}
	}
	steps, err := n.acts()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"stop kube-apiserver-1", "grace 1s", "stop etcd-1", "stop kube-scheduler-1", "restart kubelet"}
	if diff := cmp.Diff(want, steps[2:7]); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// With restart.policy auto an etcd that takes up what is new by itself is not stopped.
func TestAfreshAuto(t *testing.T) {
	t.Parallel()
	n := allExpired(t)
	n.Policy.Restart.Default = renew.RestartAuto
	steps, err := n.acts()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"healthy etcd", "stop kube-scheduler-1", "restart kubelet",
		"healthy kube-apiserver", "healthy kube-controller-manager", "healthy kube-scheduler"}
	if diff := cmp.Diff(want, steps[2:]); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	runs, _ := n.State.History()
	if want := renew.Order[1:4]; len(runs) != 1 || !slices.Equal(runs[0].Restarted, want) {
		t.Errorf("recorded: %+v, want %q restarted", runs, want)
	}
}

// Where etcd has other members it is left running, its quorum is waited for before the
// kubelet is restarted, and it is the next run that restarts it.
func TestAfreshWithPeers(t *testing.T) {
	t.Parallel()
	n := allExpired(t)
	n.peersError = errors.New("etcd does not list its members, which takes a quorum")
	n.onHealthy = func(name string) {
		if name == renew.Etcd {
			n.peers, n.peersError = []string{"cp2", "cp3"}, nil // which are repaired meanwhile
		}
	}
	steps, err := n.acts()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"healthy kube-apiserver", "healthy kube-apiserver", "healthy etcd", "stop kube-scheduler-1", "restart kubelet",
		"healthy kube-apiserver", "healthy kube-controller-manager", "healthy kube-scheduler"}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	look := n.Look(t.Context(), renew.Wish{})
	if got := look.Plan.Restart; len(got) != 1 || got[0].Component != renew.Etcd || look.Plan.Afresh != "" || len(look.Plan.Blocked) > 0 {
		t.Errorf("the next look plans %+v, want the restart of etcd", look.Plan)
	}
}

// noTurn is where nobody can be told whose turn it is, because etcd is down. The node is
// the first to begin, and the second when the quorum is back.
type noTurn struct{ asked *int }

func (noTurn) Read(context.Context) (renew.Turn, error)                 { return renew.Turn{}, renew.ErrNoQuorum }
func (noTurn) Write(context.Context, renew.Turn) (copied, err error)    { return nil, renew.ErrNoQuorum }
func (noTurn) Holder(context.Context, string) (facts renew.HolderFacts) { return facts }
func (n noTurn) Index() int {
	*n.asked++
	return *n.asked - 1
}

// No turn can be had from an etcd that is down, and the nodes that have waited for its
// quorum together do not go on together.
func TestAfreshTakesNoTurn(t *testing.T) {
	t.Parallel()
	n := allExpired(t)
	n.Turns = noTurn{new(int)}
	n.peersError = errors.New("etcd does not list its members, which takes a quorum")
	var back, kubelet time.Time
	n.onHealthy = func(name string) {
		if name == renew.Etcd {
			n.peers, n.peersError, back = []string{"cp1", "cp3"}, nil, time.Now()
		}
	}
	start := n.onKubelet
	n.onKubelet = func() { kubelet = time.Now(); start() }
	if _, err := n.acts(); err != nil {
		t.Fatal(err)
	}
	if waited := kubelet.Sub(back); waited < 2*time.Second {
		t.Errorf("the kubelet was restarted %s after the quorum came back, want 2s for the node that goes first", waited)
	}
}

// An etcd that has crashed is started first; what needs it follows when it has a quorum.
func TestAfreshStartsEtcd(t *testing.T) {
	t.Parallel()
	n := allExpired(t)
	n.peersError = errors.New("connection refused")
	etcd := n.pods[renew.Etcd]
	etcd.Running = false
	n.pods[renew.Etcd] = etcd
	steps, err := n.acts()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"stop kube-scheduler-1", "restart kubelet", "healthy etcd", "restart kubelet",
		"healthy kube-apiserver", "healthy kube-controller-manager", "healthy kube-scheduler"}
	if diff := cmp.Diff(want, steps[2:]); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// Without a quorum the certificates stay renewed, nothing is stopped, and it is said who
// must be repaired.
func TestAfreshWithoutQuorum(t *testing.T) {
	renew.ShortQuorum(t)
	n := allExpired(t)
	n.Restarts.Healthy = 50 * time.Millisecond
	n.peersError = errors.New("etcd does not list its members, which takes a quorum")
	asked := 0
	n.await = func(ctx context.Context, name string, progress func(string)) error {
		if name != renew.Etcd {
			return errors.New("connection refused")
		}
		for ctx.Err() == nil {
			asked++
			progress("readyz: 503: etcdserver: no leader")
			time.Sleep(10 * time.Millisecond)
		}
		return errors.New("etcd is not healthy after 2m: etcdserver: no leader")
	}
	steps, err := n.acts()
	if err == nil || !strings.Contains(err.Error(), "etcdserver: no leader") || !strings.Contains(err.Error(), "each on its own node") {
		t.Errorf("error %v", err)
	}
	if slices.ContainsFunc(steps, func(s string) bool { return strings.HasPrefix(s, "stop") || strings.HasPrefix(s, "restart") }) || asked < 5 {
		t.Errorf("steps %q, asked %d times", steps, asked)
	}
	if calls := n.calls(); !slices.Equal(calls, renewable) {
		t.Errorf("renewed %q", calls)
	}
	// No restart has failed: the next look may restart what it can.
	look := n.Look(t.Context(), renew.Wish{})
	if len(look.Observation.Failures) > 0 || len(look.Plan.Renew) > 0 {
		t.Errorf("failures %+v, and it is to renew %+v", look.Observation.Failures, look.Plan.Renew)
	}
}

// An API server that answers is protected, whatever has run out: what must be restarted is,
// in order. One that comes up when the files are new, beside an etcd that nobody shares and
// that must be restarted, would only hang without that etcd.
func TestAfreshNotWhileTheAPIServerWorks(t *testing.T) {
	t.Parallel()
	inOrder := []string{"stop etcd-1", "healthy etcd", "stop kube-apiserver-1", "grace 10s", "healthy kube-apiserver",
		"stop kube-controller-manager-1", "healthy kube-controller-manager", "stop kube-scheduler-1", "healthy kube-scheduler", "restart kubelet"}
	together := []string{"stop kube-apiserver-1", "grace 1s", "stop etcd-1", "stop kube-controller-manager-1", "stop kube-scheduler-1", "restart kubelet",
		"healthy etcd", "healthy kube-apiserver", "healthy kube-controller-manager", "healthy kube-scheduler"}
	for _, tt := range []struct {
		name  string
		asks  int // until it answers
		steps []string
	}{{"from the beginning", 1, inOrder}, {"once the files are new", 2, together}} {
		t.Run(tt.name, func(t *testing.T) {
			n := allExpired(t)
			for _, name := range renew.Order[:4] {
				c := n.pods[name]
				c.Running, c.Restarts, c.Started = true, 0, n.Now().Add(-354*pkitest.Day)
				n.pods[name] = c
			}
			asked := 0
			n.onHealthy = func(string) {
				if asked++; asked == tt.asks {
					delete(n.sick, renew.APIServer)
				}
			}
			_, look, err := n.Act(t.Context(), renew.Wish{}, "start")
			if err != nil {
				t.Fatal(err)
			}
			if (look.Plan.Afresh != "") != (tt.asks > 1) {
				t.Errorf("afresh: %q", look.Plan.Afresh)
			}
			if diff := cmp.Diff(tt.steps, n.done()[tt.asks:]); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

// An etcd that can be asked once its certificates are new is not stopped while others of
// its members cannot be relied on.
func TestExpiredEtcdSparesTheQuorum(t *testing.T) {
	t.Parallel()
	n := allExpired(t)
	n.sick[renew.APIServer] = false
	n.peers, n.unhealthy = []string{"cp2", "cp3"}, map[string]string{"cp2": "does not answer"}
	for _, name := range renew.Order[:4] {
		c := n.pods[name]
		c.Running, c.Restarts, c.Started = true, 0, n.Now().Add(-354*pkitest.Day)
		n.pods[name] = c
	}
	steps, err := n.acts()
	if err == nil || !strings.Contains(err.Error(), "etcd not stopped: the other members must be healthy: map[cp2:does not answer]") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"healthy kube-apiserver"}, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}
