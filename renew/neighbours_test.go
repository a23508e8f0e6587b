package renew_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// fakeNeighbours are the other nodes of a cluster.
type fakeNeighbours struct {
	mu    sync.Mutex
	seen  renew.Neighbours
	err   error
	asked int
	marks []string // what nodes were marked with, in order
	fails error    // to mark
}

func (f *fakeNeighbours) Neighbours(context.Context) (renew.Neighbours, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return f.seen, f.err
}

func (f *fakeNeighbours) Mark(_ context.Context, node, text string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.marks = append(f.marks, strings.TrimSpace(node+" "+text))
	return f.fails
}

const self = "cp1" // as pkitest calls its kubelet

func TestWhoElseTakesNodesDown(t *testing.T) {
	hour := time.Now().Add(-time.Hour)
	three := func(change ...func(nodes []renew.Neighbour)) []renew.Neighbour {
		var nodes []renew.Neighbour
		for _, name := range []string{self, "cp2", "cp3"} {
			nodes = append(nodes, renew.Neighbour{Name: name, Versions: map[string]string{renew.Etcd: "3.6.8-0", renew.APIServer: "v1.36.3"}})
		}
		for _, c := range change {
			c(nodes)
		}
		return nodes
	}
	kured := func(holds ...renew.KuredHold) renew.Neighbours {
		return renew.Neighbours{Nodes: three(), Kured: holds, KuredSet: "kube-system/kured"}
	}
	cordon := func(which ...int) renew.Neighbours {
		return renew.Neighbours{Nodes: three(func(nodes []renew.Neighbour) {
			for _, i := range which {
				nodes[i].Cordoned, nodes[i].Since = true, hour
			}
		})}
	}
	tests := []struct {
		name   string
		seen   renew.Neighbours
		err    error
		gate   string // that is closed, with this reason and remedy
		reason string
		remedy string
		notice string
	}{
		{name: "nobody", seen: renew.Neighbours{Nodes: three()}},
		{name: "kured reboots another", seen: kured(renew.KuredHold{Node: "cp2", Created: hour}),
			gate: "kured", reason: "cp2 has held its lock since", remedy: "kubectl -n kube-system annotate daemonset kured weave.works/kured-node-lock-"},
		{name: "kured reboots this one", seen: kured(renew.KuredHold{Node: self, Created: hour}), gate: "kured", reason: self},
		{name: "kured reboots a worker", seen: kured(renew.KuredHold{Node: "worker7", Created: hour})},
		{name: "kured reboots several", seen: kured(renew.KuredHold{Node: "worker7", Created: hour}, renew.KuredHold{Node: "cp3", Created: hour}), gate: "kured", reason: "cp3"},
		{name: "kured's lock has ended", seen: kured(renew.KuredHold{Node: "cp2", Created: hour, TTL: 59 * time.Minute})},
		{name: "kured's lock ends soon", seen: kured(renew.KuredHold{Node: "cp2", Created: hour, TTL: 61 * time.Minute}), gate: "kured", reason: "cp2"},
		{name: "kured's lock and no nodes", seen: renew.Neighbours{Kured: []renew.KuredHold{{Node: "any", Created: hour}}}, err: errors.New("nodes: forbidden"),
			gate: "kured", reason: "any", notice: "nodes: forbidden"},
		{name: "kured's lock is nonsense", seen: renew.Neighbours{Nodes: three(), KuredNonsense: "annotation cannot be read"}, gate: "kured", reason: "annotation cannot be read"},
		{name: "kured marks a node", seen: renew.Neighbours{Nodes: three(func(n []renew.Neighbour) { n[2].Rebooting = "2026-03-01T10:00:00Z" })},
			gate: "kured", reason: "cp3 is about to be rebooted (2026-03-01T10:00:00Z)", remedy: "kured-reboot-in-progress-"},
		{name: "another is cordoned", seen: cordon(1), gate: "cordon", reason: "cp2 since " + hour.UTC().Format("2006-01-02 15:04"), remedy: "kubectl uncordon NODE"},
		{name: "this one is cordoned", seen: cordon(0)},
		{name: "this one and another", seen: cordon(0, 2), gate: "cordon", reason: "cp3"},
		{name: "all are, always", seen: cordon(0, 1, 2)},
		{name: "the only one is", seen: renew.Neighbours{Nodes: []renew.Neighbour{{Name: self, Cordoned: true}}}},
		{name: "another is being upgraded", seen: renew.Neighbours{Nodes: three(func(n []renew.Neighbour) { n[1].Versions[renew.APIServer] = "v1.37.0" })},
			gate: "upgrade", reason: "kube-apiserver is v1.36.3 on " + self + " and cp3, v1.37.0 on cp2", remedy: "kubeadm upgrade node"},
		{name: "one has no pods to be seen", seen: renew.Neighbours{Nodes: three(func(n []renew.Neighbour) { n[1].Versions = nil })}},
		{name: "the API does not answer", err: errors.New("the API server could not be asked: refused\ntimeout"), notice: "could not be asked: refused; timeout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newFakeNode(t)
			n.Neighbours = &fakeNeighbours{seen: tt.seen, err: tt.err}
			plan := n.Look(t.Context(), renew.Wish{}).Plan
			var gates []string
			for _, g := range plan.Blocked {
				gates = append(gates, g.Name)
				if !strings.Contains(g.Reason, tt.reason) || !strings.Contains(g.Remedy, tt.remedy) {
					t.Errorf("%s: %s\n%s\nwant %q and %q", g.Name, g.Reason, g.Remedy, tt.reason, tt.remedy)
				}
			}
			if want := strings.Fields(tt.gate); !slices.Equal(gates, want) {
				t.Errorf("gates %v, want %v", gates, want)
			}
			if !strings.Contains(plan.Notices.String(), tt.notice) || tt.notice == "" && len(plan.Notices) > 0 {
				t.Errorf("notices %q, want %q", plan.Notices, tt.notice)
			}
		})
	}
}

// What is urgent waits for nobody, and says so.
func TestUrgentWaitsForNoNeighbour(t *testing.T) {
	n := newFakeNode(t)
	n.Policy.Margin = renew.Margin{Before: 11 * pkitest.Day}
	n.Neighbours = &fakeNeighbours{seen: renew.Neighbours{Kured: []renew.KuredHold{{Node: "cp2", Created: time.Now()}}}}
	plan := n.Look(t.Context(), renew.Wish{}).Plan
	if len(plan.Blocked) > 0 {
		t.Errorf("blocked by %v", plan.Blocked)
	}
	if said := plan.Notices.String(); !strings.Contains(said, "cp2 has held its lock") || !strings.Contains(said, "it is not waited for: ") {
		t.Errorf("notices %q", said)
	}
}

// Nobody is asked for what restarts nothing, and when something else is waited for anyhow.
func TestNeighboursAskedOnlyForARestart(t *testing.T) {
	for name, change := range map[string]func(n *fakeNode){
		"nothing to do":      func(n *fakeNode) { n.Policy.Before = pkitest.Day },
		"nothing to restart": func(n *fakeNode) { n.Policy.Restart.Default = renew.RestartNever },
		"blocked already":    func(n *fakeNode) { n.kubeletHealthy = func() error { return errors.New("down") } },
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			others := &fakeNeighbours{}
			n.Neighbours = others
			change(n)
			if n.Look(t.Context(), renew.Wish{}); others.asked > 0 {
				t.Errorf("asked %d times", others.asked)
			}
		})
	}
}

// Others see that a run is at work on the node, and no longer when it has ended.
func TestNodeIsMarked(t *testing.T) {
	n := newFakeNode(t)
	others := &fakeNeighbours{}
	n.Neighbours = others
	var during []string
	n.onStop = func(string) {
		others.mu.Lock()
		defer others.mu.Unlock()
		during = slices.Clone(others.marks)
	}
	id, _, err := n.Act(t.Context(), renew.Wish{}, "test")
	if err != nil {
		t.Fatal(err)
	}
	if len(others.marks) != 2 || others.marks[1] != self {
		t.Fatalf("marks %q, want one and its removal", others.marks)
	}
	if len(during) != 1 {
		t.Errorf("while components were restarted there were %d marks", len(during))
	}
	node, text, _ := strings.Cut(others.marks[0], " ")
	var said struct {
		Run   string    `json:"run"`
		Since time.Time `json:"since"`
	}
	if err := json.Unmarshal([]byte(text), &said); err != nil || node != self || said.Run != id || time.Since(said.Since) > time.Hour {
		t.Errorf("marked %q with %q (%v)", node, text, err)
	}
	if _, err := os.Stat(filepath.Join(n.State.Dir, "mark.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mark is remembered: %v", err)
	}
}

// An API server that does not answer keeps no run from being carried out, and what could
// not be removed is removed when it can be.
func TestMarkDependsOnNobody(t *testing.T) {
	n := newFakeNode(t)
	others := &fakeNeighbours{fails: errors.New("the API server is away"), err: errors.New("away too")}
	n.Neighbours = others
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "test"); err != nil {
		t.Fatal(err)
	}
	n.DropMark(t.Context())
	if len(others.marks) != 3 {
		t.Fatalf("marks %q, want one and two attempts to remove it", others.marks)
	}
	others.fails = nil
	n.DropMark(t.Context())
	n.DropMark(t.Context())
	if len(others.marks) != 4 || others.marks[3] != self {
		t.Errorf("marks %q, want a third attempt and no more", others.marks)
	}
}

// Beside a run at work, as after a `kubecertd renew` that is not over, its mark stays.
func TestMarkOfARunAtWorkStays(t *testing.T) {
	n := newFakeNode(t)
	others := &fakeNeighbours{}
	n.Neighbours = others
	n.onStop = func(string) { n.DropMark(context.Background()) }
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "test"); err != nil {
		t.Fatal(err)
	}
	if len(others.marks) != 2 {
		t.Errorf("marks %q, want one and its removal at the end", others.marks)
	}
}
