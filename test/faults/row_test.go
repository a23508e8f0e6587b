//go:build linux

package faults_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// row is one row of the matrix: certificates are due, the daemon is started, and then
// something goes wrong.
type row struct {
	name, kind string
	// quick rows are run by `make test`, too.
	quick bool
	// due are the certificates that a run is to renew; usual when there are none.
	due []string
	// point arms a failpoint of the daemon: "kill" or "wait", and where.
	point string
	// configuration in addition to story.Soon.
	configuration string
	// before does what is to be wrong before the daemon starts.
	before func(t *testing.T, n *node)
	// strike does the harm, while the daemon waits at its point.
	strike func(t *testing.T, n *node)
	// says is the cause, in the journal; one that stays is there after patience, a minute
	// when zero.
	says     []string
	patience time.Duration
	// mend takes a cause away that stays. Before that, no certificate may be anything
	// but as before or renewed, unless it is one of harmed, which may be as it must be
	// only once the cause is gone.
	mend   func(t *testing.T, n *node)
	harmed []string
	// limit is how long it may take until all is well; a minute and a half when zero.
	limit time.Duration
	// stops are how often a component may be stopped when it is not once if it holds a
	// certificate that is due, and never otherwise.
	stops map[string]int
	// reboots says that every container is another in the end.
	reboots bool
	// must is what must hold in this row besides; for the table.
	must string
}

// usual are a kubeconfig for people, a certificate with a key of its own and a
// kubeconfig that a component holds.
var usual = []string{"admin.conf", "apiserver-etcd-client", "scheduler.conf"}

// holders restart when one of these is renewed.
var holders = map[string]string{"apiserver-etcd-client": "kube-apiserver", "scheduler.conf": "kube-scheduler",
	"controller-manager.conf": "kube-controller-manager", "etcd-server": "etcd"}

const (
	failpointFile = "/run/kubecertd-failpoint"
	clockFile     = "/run/kubecertd-clock"
)

// run tells the row, and says what was seen.
func (r row) run(t *testing.T, n *node) (seen string) {
	if r.due == nil {
		r.due = usual
	}
	n.prepare(t)
	n.Override(t, "RestartSec=1s", "ReadWritePaths=/run "+dir)
	n.Configure(t, story.Soon+r.configuration)
	n.Age(t, r.due...)
	before := n.look(t)
	if r.point != "" {
		n.Write(t, failpointFile, r.point+"\n", 0o600)
	}
	if r.before != nil {
		r.before(t, n)
	}
	n.kubernetes.Sync()
	n.state.Sync()
	n.MustRun(t, "systemctl", "start", "--no-block", "kubecertd")
	if strings.HasPrefix(r.point, "wait ") {
		n.reached(t)
	}
	struck := time.Now()
	if r.strike != nil {
		r.strike(t, n)
	}
	if strings.HasPrefix(r.point, "kill ") {
		story.Eventually(t, time.Minute, func() error { return n.absent(failpointFile) })
		struck = time.Now()
	}
	if r.mend != nil {
		// The cause is said, and stays for a while: meanwhile nothing gets worse.
		n.AwaitSaid(t, cmp.Or(r.patience, time.Minute), "", r.says...)
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			n.unharmed(t, before, r.due, r.harmed)
		}
		struck = time.Now()
		r.mend(t, n)
	}
	story.Eventually(t, cmp.Or(r.limit, 90*time.Second), func() error { return n.over(t, r.due) })
	took := time.Since(struck)
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Error(err)
	}
	n.APIWorks(t)
	n.AwaitSaid(t, time.Second, "", r.says...)
	n.unharmed(t, before, r.due, nil)
	r.stopped(t, n, before)
	n.secret(t, before, r.due)
	return fmt.Sprintf("%s; settled after %.0f s", n.outcome(t), took.Seconds())
}

// over says what is not yet as it must be in the end.
func (n *node) over(t *testing.T, due []string) error {
	if u := n.Unit(t, "kubecertd"); u["ActiveState"] != "active" {
		return fmt.Errorf("the daemon is %s", u["ActiveState"])
	}
	for _, name := range due {
		if err := n.renewed(name); err != nil {
			return err
		}
	}
	return n.Settled()
}

// reached waits until the daemon stands at its point.
func (n *node) reached(t *testing.T) {
	t.Helper()
	story.Eventually(t, time.Minute, func() error {
		_, err := n.ReadFile(failpointFile + ".reached")
		return err
	})
}

// release lets the daemon go on.
func (n *node) release(t *testing.T) {
	t.Helper()
	n.MustRun(t, "rm", "-f", failpointFile, failpointFile+".reached")
}

func (n *node) absent(path string) error {
	if _, err := n.ReadFile(path); err == nil {
		return fmt.Errorf("%s is still there", path)
	}
	return nil
}

// prepare puts the node into the state in which every row begins, whatever the one
// before left, and takes what was wrong in it away.
func (n *node) prepare(t *testing.T) {
	t.Helper()
	n.kubernetes.Limit(1 << 30)
	n.state.Limit(1 << 30)
	writable(t, n.kubernetes, true)
	writable(t, n.state, true)
	if !n.Running() {
		must(t, n.Boot(t.Context()))
	}
	for _, pid := range n.pids("kubelet") {
		must(t, n.Thaw(t.Context(), pid))
	}
	n.MustRun(t, "sh", "-c", "rm -f "+failpointFile+"* "+clockFile+" /run/story-*; "+
		"systemctl disable kubecertd; systemctl kill --signal=KILL kubecertd; systemctl stop kubecertd; find "+story.StateDir+" -mindepth 1 -delete; mkdir -p "+dir)
	for name, files := range story.CertificateFiles {
		if n.valid(name) == nil {
			continue
		}
		for _, file := range files {
			t.Logf("the row before left %s as it must not be: it is made good", file)
			good, err := os.ReadFile(filepath.Join(lab.golden, strings.TrimPrefix(file, kubernetesDir)))
			must(t, err)
			must(t, n.Overwrite(file, good))
		}
	}
	n.MustRun(t, "chmod", "0600", kubernetesDir+"/admin.conf")
	n.Node = story.Prepare(t, n.Node.Node, builder)
}

func (n *node) pids(program string) []int {
	pids, _ := n.Pids(program)
	return pids
}

// stopped demands that no component was stopped more often than it had to be, by what
// kubecertd said and by the containers that there are.
func (r row) stopped(t *testing.T, n *node, before snapshot) {
	t.Helper()
	count := map[string]int{}
	for _, name := range n.stops(t) {
		count[name]++
	}
	newest, _ := n.Containers(t)
	for _, name := range append(slices.Clone(story.Pods), "kubelet") {
		allowed, held := 0, false
		for _, due := range r.due {
			held = held || holders[due] == name
		}
		if held {
			allowed = 1
		}
		if more, ok := r.stops[name]; ok {
			allowed = more
		}
		if count[name] > allowed {
			t.Errorf("%s was stopped %d times, want %d at most", name, count[name], allowed)
		}
		was, is := before.containers[name], newest[name]
		switch {
		case name == "kubelet" || r.reboots:
		case held && is.ID == was.ID:
			t.Errorf("%s holds what was renewed and was not restarted", name)
		// The other two leave by themselves when the API is away for ten seconds.
		case (name == "etcd" || name == "kube-apiserver") && int(is.Attempt-was.Attempt) > allowed:
			t.Errorf("%s: the container was %+v and is %+v: want %d new ones at most", name, was, is, allowed)
		}
		if name != "kubelet" && !is.Running {
			t.Errorf("%s does not run", name)
		}
	}
}

// outcome is what was seen of the row, in a few words.
func (n *node) outcome(t *testing.T) string {
	t.Helper()
	var words []string
	if found := n.Events(t, renew.EventRecovered); len(found) > 0 {
		words = append(words, "found: "+found[len(found)-1]["FOUND"])
	}
	back := len(n.Events(t, renew.EventPutBack))
	if failed := len(n.Events(t, renew.EventRunFailed)); failed > 0 {
		words = append(words, fmt.Sprintf("%d failed run(s)", failed))
	}
	if back > 0 {
		words = append(words, fmt.Sprintf("%d put back", back))
	}
	var short []string
	for _, name := range n.stops(t) {
		short = append(short, strings.TrimPrefix(name, "kube-"))
	}
	words = append(words, "stopped: "+strings.Join(short, ", "))
	return strings.Join(words, "; ")
}

// stops are the components that kubecertd stopped, in order. To ask again for the same
// container, because the runtime did not answer, is not to stop it twice; and a kubelet
// that is restarted so that others need not wait has a name of its own.
func (n *node) stops(t *testing.T) []string {
	t.Helper()
	var list []string
	seen := map[string]bool{}
	for _, e := range n.Events(t, renew.EventRestarting) {
		id, name := e["CONTAINER_ID"], e["COMPONENT"]
		if name == renew.Kubelet && strings.Contains(e.Message(), "the kubelet remembers") {
			name = "kubelet to forget"
		}
		if id == "" || !seen[id] {
			list = append(list, name)
		}
		seen[id] = true
	}
	return list
}
