//go:build linux

package e2e_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/clients"
	"github.com/kubecertd/kubecertd/test/story"
)

// Three control-plane nodes whose certificates come due in the same second are worked on
// one after the other, and a node that is broken keeps the others from it.
func TestTurns(t *testing.T) {
	cluster := story.Lab(t, "e2e-three", 3)
	var nodes []*node
	for _, on := range cluster.Nodes {
		nodes = append(nodes, prepare(t, on))
	}
	t.Cleanup(func() {
		for _, n := range nodes {
			_, _ = n.Try("systemctl", "stop", "kubecertd")
			_, _ = n.Try("kubecertd", "lock", "release", "--force")
		}
	})
	t.Run("auto", func(t *testing.T) { inTurn(t, nodes, "auto", true) })
	// Three API servers that start, and their clients, are more than two processors bear well.
	t.Run("always", func(t *testing.T) { inTurn(t, nodes, "always", os.Getenv("KUBECERTD_SOAK") != "") })
	t.Run("a failed run keeps the turn", func(t *testing.T) { keptTurn(t, nodes) })
	if os.Getenv("KUBECERTD_SOAK") == "" {
		t.Log("the power cut and the deleted holder take minutes: KUBECERTD_SOAK=1")
		return
	}
	t.Run("power cut of the holder", func(t *testing.T) { cutHolder(t, nodes) })
	t.Run("the holder is deleted", func(t *testing.T) { deletedHolder(t, nodes) })
}

// together ages the certificates of all nodes and starts all daemons in the same second.
func together(t *testing.T, nodes []*node, configuration string) {
	t.Helper()
	for _, n := range nodes {
		n.MustRun(t, "systemctl", "stop", "kubecertd")
		n.MustRun(t, "rm", "-rf", story.StateDir+"/runs")
		n.Configure(t, story.Soon+configuration)
		n.Calm(t)
		n.Age(t, n.due()...)
	}
	for _, n := range nodes {
		n.Began = time.Now()
	}
	for _, n := range nodes {
		n.MustRun(t, "systemctl", "start", "--no-block", "kubecertd")
	}
}

// inTurn has the certificates of all nodes come due in the same second, and demands that
// never two nodes are without a component at once. With clients they are counted, too.
func inTurn(t *testing.T, nodes []*node, policy string, withClients bool) {
	began := time.Now()
	together(t, nodes, "restart: {policy: "+policy+"}\n")
	leader := leads(t, nodes)
	quorum := watchQuorum(t, nodes)
	var requests *clients.Stream
	if withClients {
		requests = throughBalancer(t, nodes)
	}
	due := time.Now()
	for _, n := range nodes {
		n.AwaitDone(t, 5*time.Minute)
	}
	t.Logf("%s: the whole cluster was done %s after its certificates came due (aging took %s)", policy,
		time.Since(due).Round(100*time.Millisecond), due.Sub(began).Round(time.Second))
	var sent []clients.Request
	if withClients {
		sent = requests.End()
	}
	quorum(t)
	for _, n := range nodes {
		if policy == "auto" { // which leaves what reloads unseen as it is
			n.Exits(t, 0, "kubecertd", "plan")
		} else {
			story.Eventually(t, time.Minute, n.Settled)
		}
	}
	var gaps []story.Gap
	for _, n := range nodes {
		gaps = append(gaps, n.Gaps(t)...)
	}
	// Which of kube-controller-manager and kube-scheduler leave by themselves, because the API
	// server they use has gone, is not known before.
	if least := 2*len(nodes) - 2; len(gaps) < least {
		t.Errorf("%d containers were stopped, want %d or more", len(gaps), least)
	}
	for i, a := range gaps {
		t.Logf("%s of %s was not there for %s from %s on", a.Component, a.Node, a.Started.Sub(a.Finished).Round(10*time.Millisecond), a.Finished.Format("15:04:05.000"))
		for _, b := range gaps[i+1:] {
			if a.Node != b.Node && a.Finished.Before(b.Started) && b.Finished.Before(a.Started) {
				t.Errorf("%s of %s and %s of %s were not there at once: %v and %v", a.Component, a.Node, b.Component, b.Node, a, b)
			}
		}
	}
	if withClients {
		answered(t, sent, gaps, policy)
	}
	apart(t, nodes)
	free(t, nodes)
	if policy == "auto" {
		last := runs(t, nodes)
		t.Logf("the leaders are on %v, the runs in their order on %v", leader, last)
		if first := last[0]; slices.Contains(leader, first) && len(leader) < len(nodes) {
			t.Errorf("%s leads and was restarted first: %v", first, last)
		}
	}
}

// apart demands that no two runs that restart something were under way at once, by the
// journal's clock, which is the same for all nodes of a lab.
func apart(t *testing.T, nodes []*node) {
	t.Helper()
	type span struct {
		node        string
		begin, ends time.Time
	}
	var spans []span
	for _, n := range nodes {
		first, last := n.Events(t, renew.EventRestarting), n.Events(t, renew.EventRestarted)
		if len(first) == 0 || len(last) == 0 {
			t.Errorf("%s has restarted nothing", n.Name())
			continue
		}
		spans = append(spans, span{n.Name(), first[0].Time(), last[len(last)-1].Time()})
	}
	for i, a := range spans {
		for _, b := range spans[i+1:] {
			if a.begin.Before(b.ends) && b.begin.Before(a.ends) {
				t.Errorf("the runs of %s and %s were under way at once: %v, %v", a.node, b.node, a, b)
			}
		}
	}
}

// runs are the nodes in the order of their restarts.
func runs(t *testing.T, nodes []*node) []string {
	t.Helper()
	sorted := slices.Clone(nodes)
	at := func(n *node) time.Time {
		if e := n.Events(t, renew.EventRestarting); len(e) > 0 {
			return e[0].Time()
		}
		return time.Time{}
	}
	slices.SortFunc(sorted, func(a, b *node) int { return at(a).Compare(at(b)) })
	var names []string
	for _, n := range sorted {
		names = append(names, n.Name())
	}
	return names
}

// leads are the nodes whose controller-manager or scheduler leads.
func leads(t *testing.T, nodes []*node) []string {
	t.Helper()
	var names []string
	for _, component := range []string{"kube-controller-manager", "kube-scheduler"} {
		holder := nodes[0].MustRun(t, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "-n", "kube-system", "get", "lease", component, "-o", "jsonpath={.spec.holderIdentity}")
		name, _, _ := strings.Cut(holder, "_")
		names = append(names, name)
	}
	return names
}

// watchQuorum asks etcd for its quorum all the time, through all nodes; what it returns
// demands that at every moment one of them has answered.
func watchQuorum(t *testing.T, nodes []*node) func(*testing.T) {
	t.Helper()
	stop, stopped := make(chan struct{}), make(chan struct{})
	var longest, asked = time.Duration(0), 0
	go func() {
		defer close(stopped)
		last := time.Now()
		for {
			for _, n := range nodes {
				select {
				case <-stop:
					return
				default:
				}
				if ctx := t.Context(); ctx.Err() != nil {
					return
				}
				// etcd's readyz includes a linearizable read.
				result, err := n.Try("curl", "-fsS", "--max-time", "2", "http://127.0.0.1:2381/readyz")
				if asked++; err == nil && result.ExitCode == 0 {
					longest = max(longest, time.Since(last))
					last = time.Now()
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	return func(t *testing.T) {
		t.Helper()
		close(stop)
		<-stopped
		t.Logf("etcd's quorum was asked for %d times; the longest time between two answers was %s", asked, longest.Round(10*time.Millisecond))
		if longest > 15*time.Second {
			t.Errorf("for %s no member of etcd had a quorum", longest)
		}
	}
}

// turn is what a node says of the turn.
func (n *node) turn(t *testing.T) renew.TurnStatus {
	t.Helper()
	var s renew.TurnStatus
	result, err := n.Try("kubecertd", "lock", "status", "--output=json")
	if err != nil {
		t.Fatalf("%s: %v: %s", n.Name(), err, result.Stderr)
	}
	if err := json.Unmarshal([]byte(result.Stdout), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// free demands that nobody holds the turn, by every node and by the Lease.
func free(t *testing.T, nodes []*node) {
	t.Helper()
	for _, n := range nodes {
		if s := n.turn(t); s.Holder != "" || s.Unknown != "" {
			t.Errorf("%s says that %s", n.Name(), s.Turn)
		}
	}
	holder := nodes[0].MustRun(t, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "-n", "kube-system", "get", "lease", "kubecertd-turn", "-o", "jsonpath={.spec.holderIdentity}")
	if holder != "" {
		t.Errorf("the Lease says that %s holds it", holder)
	}
}

// keptTurn has the run of one node fail, and demands that the others wait until a person
// has released its turn.
func keptTurn(t *testing.T, nodes []*node) {
	broken, others := nodes[0], nodes[1:]
	for _, n := range nodes {
		n.MustRun(t, "systemctl", "stop", "kubecertd")
		n.MustRun(t, "rm", "-rf", story.StateDir+"/runs")
		n.Calm(t)
		n.Began = time.Now()
	}
	broken.MustRun(t, "sh", "-c", kubeadm("echo 'CA key not found' >&2; exit 1"))
	broken.Configure(t, "check: {retry: 1h, settle: 500ms}\n"+ours)
	broken.Age(t, "scheduler.conf")
	broken.Start(t)
	broken.AwaitEvent(t, 2*time.Minute, renew.EventTurnKept)
	for _, n := range others {
		n.Configure(t, story.Soon)
		n.Age(t, "scheduler.conf")
		n.Start(t)
	}
	for _, n := range others {
		n.AwaitSaid(t, time.Minute, renew.EventBlocked, "turn", broken.Name(), "CA key not found", "kubecertd lock release "+broken.Name())
		if s := n.turn(t); s.Holder != broken.Name() || !strings.Contains(s.Failed, "CA key not found") || s.Gone != "" {
			t.Errorf("%s says that %s (%q)", n.Name(), s.Turn, s.Gone)
		}
		if n.Renewed(t, "scheduler.conf") {
			t.Errorf("%s has not waited", n.Name())
		}
	}
	// Not the wrong one, and not by mistake.
	others[0].Exits(t, 1, "kubecertd", "lock", "release", others[1].Name())
	others[0].Exits(t, 3, "kubecertd", "lock", "release")
	others[0].Exits(t, 0, "kubecertd", "lock", "release", broken.Name())
	for _, n := range others {
		n.AwaitDone(t, 3*time.Minute)
		if !n.Renewed(t, "scheduler.conf") {
			t.Errorf("%s has not renewed", n.Name())
		}
	}
	apart(t, others)
	// What was broken is repaired, and the node goes on by itself.
	broken.MustRun(t, "sh", "-c", good)
	broken.Configure(t, story.Soon+ours)
	broken.MustRun(t, "rm", "-rf", story.StateDir+"/runs")
	broken.MustRun(t, "systemctl", "restart", "kubecertd")
	story.Eventually(t, 2*time.Minute, broken.Settled)
	story.Eventually(t, time.Minute, func() error {
		for _, n := range nodes {
			if s := n.turn(t); s.Holder != "" {
				return story.Contains(s.String(), "nobody's")
			}
		}
		return nil
	})
}

// holding waits for a node that has the turn and has begun to restart.
func holding(t *testing.T, nodes []*node) (holder *node, others []*node) {
	t.Helper()
	story.Eventually(t, 3*time.Minute, func() error {
		for i, n := range nodes {
			if said := story.Said(n.Events(t, renew.EventRestarting)); said != "" {
				holder, others = n, slices.Delete(slices.Clone(nodes), i, i+1)
				return nil
			}
		}
		return story.Contains("", "a restart")
	})
	return holder, others
}

// cutHolder cuts the power of the node that has the turn, in the middle of its restarts.
func cutHolder(t *testing.T, nodes []*node) {
	together(t, nodes, "")
	holder, others := holding(t, nodes)
	if err := holder.PowerCut(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("the power of %s was cut", holder.Name())
	time.Sleep(30 * time.Second) // many times turnAgain
	for _, n := range others {
		if said := story.Said(n.Events(t, renew.EventRestarting)); said != "" {
			t.Errorf("%s has begun while %s is half restarted: %s", n.Name(), holder.Name(), said)
		}
		if s := n.turn(t); s.Holder != holder.Name() {
			t.Errorf("%s says that %s", n.Name(), s.Turn)
		}
	}
	if err := holder.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	holder.MustRun(t, "systemctl", "start", "kubecertd")
	for _, n := range others {
		n.AwaitDone(t, 5*time.Minute)
	}
	for _, n := range nodes {
		story.Eventually(t, 2*time.Minute, n.Settled)
	}
	apart(t, others)
	free(t, nodes)
}

// deletedHolder has a node hold the turn that is then no node of the cluster any more.
func deletedHolder(t *testing.T, nodes []*node) {
	gone, others := nodes[2], nodes[:2]
	for _, n := range nodes {
		n.MustRun(t, "systemctl", "stop", "kubecertd")
		n.MustRun(t, "rm", "-rf", story.StateDir+"/runs")
		n.Calm(t)
		n.Began = time.Now()
	}
	gone.MustRun(t, "sh", "-c", kubeadm("exit 1"))
	gone.Configure(t, "check: {retry: 1h, settle: 500ms}\n"+ours)
	gone.Age(t, "scheduler.conf")
	gone.Start(t)
	gone.AwaitEvent(t, 2*time.Minute, renew.EventTurnKept)
	gone.MustRun(t, "systemctl", "stop", "kubecertd", "kubelet")
	others[0].MustRun(t, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "delete", "node", gone.Name(), "--wait=false")
	for _, n := range others {
		n.Configure(t, story.Soon)
		n.Age(t, "scheduler.conf")
		n.Start(t)
	}
	for _, n := range others {
		n.AwaitDone(t, 4*time.Minute)
	}
	if said := story.Said(others[0].Events(t, renew.EventTurnPassed)) + story.Said(others[1].Events(t, renew.EventTurnPassed)); said == "" {
		t.Error("nobody has said that the holder is gone")
	}
	apart(t, others)
	gone.MustRun(t, "systemctl", "start", "kubelet") // which registers the node again
	gone.MustRun(t, "sh", "-c", good)
	gone.MustRun(t, "rm", "-rf", story.StateDir+"/runs")
	gone.Configure(t, story.Soon+ours)
	gone.MustRun(t, "systemctl", "start", "kubecertd")
	story.Eventually(t, 2*time.Minute, gone.Settled)
}
