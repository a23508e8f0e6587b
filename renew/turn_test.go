package renew_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// fakeTurns is the turn of a cluster of which the fake node is cp1.
type fakeTurns struct {
	mu      sync.Mutex
	turn    renew.Turn
	version int
	err     error
	facts   renew.HolderFacts
	unready map[string]string
	index   int
	history []string // the holders, one for each write
	onWrite func()
}

func (f *fakeTurns) Read(context.Context) (renew.Turn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	turn := f.turn
	turn.Seen = f.version
	return turn, f.err
}

func (f *fakeTurns) Write(_ context.Context, next renew.Turn) (error, error) {
	if f.onWrite != nil {
		f.onWrite()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if next.Seen != f.version {
		return nil, renew.ErrTurnChanged
	}
	f.turn = next
	f.version++
	f.history = append(f.history, next.Holder)
	return nil, nil
}

func (f *fakeTurns) set(holder string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn, f.version = renew.Turn{Held: renew.Held{Holder: holder}}, f.version+1
}

func (f *fakeTurns) Holder(context.Context, string) renew.HolderFacts   { return f.facts }
func (f *fakeTurns) Unready(context.Context) (map[string]string, error) { return f.unready, nil }
func (f *fakeTurns) Index() int                                         { return f.index }

// newPeer makes a node with two peers that takes turns with them.
func newPeer(t *testing.T) (*fakeNode, *fakeTurns) {
	t.Helper()
	n, turns := newFakeNode(t), &fakeTurns{facts: renew.HolderFacts{Node: renew.PartHealthy, Member: renew.PartHealthy, API: renew.PartHealthy}}
	n.peers = []string{"cp2", "cp3"}
	n.Turns, n.Servers = turns, turns
	return n, turns
}

func TestTurnIsTakenAndGivenBack(t *testing.T) {
	n, turns := newPeer(t)
	n.onStop = func(name string) {
		if turns.turn.Holder != "cp1" || !strings.Contains(turns.turn.Reason, "restart etcd") || turns.turn.Since.IsZero() {
			t.Errorf("%s is stopped, and the turn is %+v", name, turns.turn)
		}
	}
	if _, look, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil || look.Plan.Turn == nil {
		t.Fatal(err)
	}
	if want := []string{"cp1", ""}; !slices.Equal(turns.history, want) {
		t.Errorf("the turn was held by %q, want %q", turns.history, want)
	}
	if len(n.done()) == 0 {
		t.Error("nothing was restarted")
	}
}

// Single nodes and workers have nobody to take turns with.
func TestTurnIsForPeers(t *testing.T) {
	n, turns := newPeer(t)
	n.peers = nil
	turns.set("somebody")
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil || len(turns.history) > 0 {
		t.Errorf("%v, %v", err, turns.history)
	}
}

// While another node holds the turn nothing is touched, and it is said who.
func TestTurnIsWaitedFor(t *testing.T) {
	n, turns := newPeer(t)
	turns.turn = renew.Turn{Held: renew.Held{Holder: "cp2", Since: time.Now(), Reason: "restart etcd"}}
	_, look, err := n.Act(t.Context(), renew.Wish{}, "timer")
	var blocked *renew.BlockedError
	if !errors.As(err, &blocked) || len(blocked.Gates) != 1 || blocked.Gates[0].Name != "turn" || !strings.Contains(blocked.Gates[0].Reason, "cp2") {
		t.Fatalf("%v", err)
	}
	if len(n.calls())+len(n.done())+len(turns.history) > 0 {
		t.Errorf("touched: %v %v %v", n.calls(), n.done(), turns.history)
	}
	if wait := renew.Waits(look.Plan, "cp1", time.Minute); wait < 5*time.Second || wait > 7*time.Second {
		t.Errorf("a node that is at work is waited for %s", wait)
	}
	if renew.Waits(look.Plan, "cp1", time.Minute) == renew.Waits(look.Plan, "cp3", time.Minute) {
		t.Error("nodes that wait together come back together")
	}
	turns.turn.Failed = "kubeadm"
	if look = n.Look(t.Context(), renew.Wish{}); renew.Waits(look.Plan, "cp1", time.Minute) != time.Minute {
		t.Error("a node that has failed is asked for every few seconds")
	}
}

// Another node that was faster has the turn, whatever was read before.
func TestTurnIsComparedWhenItIsTaken(t *testing.T) {
	n, turns := newPeer(t)
	turns.onWrite = func() { turns.onWrite = nil; turns.set("cp2") }
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "the turn of cp2") || len(n.calls()) > 0 {
		t.Errorf("%v, %v", err, n.calls())
	}
}

// A failed run keeps the turn with the reason, until the node is healthy.
func TestTurnIsKeptAfterAFailure(t *testing.T) {
	n, turns := newPeer(t)
	n.dead[renew.Scheduler] = true
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err == nil {
		t.Fatal("the run did not fail")
	}
	if turns.turn.Holder != "cp1" || !strings.Contains(turns.turn.Failed, "kube-scheduler") || !strings.Contains(turns.turn.Failed, "run ") {
		t.Errorf("%+v", turns.turn)
	}
	look := n.Look(t.Context(), renew.Wish{})
	n.SettleTurn(t, look)
	if turns.turn.Holder == "" {
		t.Error("it was given back although the scheduler is down")
	}
	n.mu.Lock()
	c := n.pods[renew.Scheduler]
	c.ID, c.Running, c.Started = "kube-scheduler-3", true, time.Now()
	n.pods[renew.Scheduler] = c
	n.unit.Started = time.Now()
	n.mu.Unlock()
	look = n.Look(t.Context(), renew.Wish{})
	n.SettleTurn(t, look)
	if turns.turn.Holder != "" {
		t.Errorf("the node was repaired, and holds the turn still: %+v\n%+v\n%+v", turns.turn, look.Plan, look.Observation.Components)
	}
}

// A node that lost the turn stops nothing more.
func TestTurnIsConfirmedBeforeEachStop(t *testing.T) {
	n, turns := newPeer(t)
	n.onStop = func(name string) {
		if name == renew.Etcd {
			turns.set("cp2")
		}
	}
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "lost the turn") {
		t.Fatal(err)
	}
	if slices.Contains(n.done(), "stop kube-apiserver-1") || !slices.Contains(n.done(), "healthy etcd") {
		t.Errorf("steps %v", n.done())
	}
	if turns.turn.Holder != "cp2" || turns.turn.Failed != "" {
		t.Errorf("%+v", turns.turn)
	}
}

// An unreadable turn ends a run in the middle only when it stays so.
func TestTurnIsReadAgain(t *testing.T) {
	renew.ShortTurns(t)
	n, turns := newPeer(t)
	n.onStop = func(name string) {
		if name == renew.Etcd {
			turns.mu.Lock()
			turns.err = errors.New("etcd is away")
			turns.mu.Unlock()
			time.AfterFunc(300*time.Millisecond, func() {
				turns.mu.Lock()
				turns.err = nil
				turns.mu.Unlock()
			})
		}
	}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Error(err)
	}
}

// What is near its end passes a turn that is held, and says so.
func TestTurnIsPassed(t *testing.T) {
	renew.ShortTurns(t)
	n, turns := newPeer(t)
	n.Policy.Margin = renew.Margin{Before: 30 * pkitest.Day}
	turns.turn = renew.Turn{Held: renew.Held{Holder: "cp2", Failed: "kubeadm"}}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	// cp2 is as broken as before.
	if want := []string{"cp1", "cp2"}; !slices.Equal(turns.history, want) || turns.turn.Failed != "kubeadm" {
		t.Errorf("the turn was held by %q, want %q: %+v", turns.history, want, turns.turn)
	}
	if len(n.calls()) == 0 {
		t.Error("nothing was renewed")
	}
}

// Who was passed may have stopped something still: that is seen, and waited for.
func TestTurnIsGivenBackWhenOthersAreDown(t *testing.T) {
	renew.ShortTurns(t)
	n, turns := newPeer(t)
	n.Policy.Margin = renew.Margin{Before: 30 * pkitest.Day}
	turns.turn = renew.Turn{Held: renew.Held{Holder: "cp2"}}
	turns.onWrite = func() { n.unhealthy = map[string]string{"cp2": "does not answer"} }
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "cp2 (does not answer)") || turns.turn.Holder != "cp2" || len(n.calls()) > 0 {
		t.Errorf("%v, %+v, %v", err, turns.turn, n.calls())
	}
}

// A node whose components lead comes after the others, and comes at last.
func TestTurnIsYielded(t *testing.T) {
	renew.ShortTurns(t)
	n, turns := newPeer(t)
	n.Policy.Restart.Default = renew.RestartAuto
	n.Leases = fakeLeases{n: n}
	turns.index = 1
	began := time.Now()
	if _, look, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	} else if len(look.Plan.Restart) == 0 {
		t.Fatal("nothing was restarted")
	}
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("it took the turn at once: %s", took)
	}
	if want := []string{"cp1", ""}; !slices.Equal(turns.history, want) {
		t.Errorf("held by %q", turns.history)
	}
}

// A standby that is faster has the turn then.
func TestTurnIsYieldedToOthers(t *testing.T) {
	renew.ShortTurns(t)
	n, turns := newPeer(t)
	n.Policy.Restart.Default = renew.RestartAuto
	n.Leases = fakeLeases{n: n}
	time.AfterFunc(50*time.Millisecond, func() { turns.set("cp3") })
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "the turn of cp3") || len(n.calls()) > 0 {
		t.Errorf("%v, %v", err, n.calls())
	}
}

func TestGatesOfPeers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		with  func(*fakeNode, *fakeTurns)
		gate  string
		words string
	}{
		{"another API server is not ready", func(_ *fakeNode, f *fakeTurns) { f.unready = map[string]string{"cp3": "refused"} }, "apiserver", "cp3 (refused)"},
		{"two members, refused", func(n *fakeNode, _ *fakeTurns) { n.peers, n.RefuseTwo = []string{"cp2"}, true }, "two-members", "no quorum"},
		{"two members, accepted", func(n *fakeNode, _ *fakeTurns) { n.peers = []string{"cp2"} }, "", "two members"},
		{"two members, refused, but urgent", func(n *fakeNode, _ *fakeTurns) {
			n.peers, n.RefuseTwo = []string{"cp2"}, true
			n.Policy.Margin = renew.Margin{Before: 30 * pkitest.Day}
		}, "", "two members"},
		{"a member is a learner", func(n *fakeNode, _ *fakeTurns) { n.unhealthy = map[string]string{"cp3": "is a learner"} }, "etcd", "cp3 (is a learner)"},
		{"the turn cannot be read", func(_ *fakeNode, f *fakeTurns) { f.err = errors.New("timed out") }, "turn", "timed out"},
		{"all is well", func(*fakeNode, *fakeTurns) {}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n, turns := newPeer(t)
			tt.with(n, turns)
			plan := n.Look(t.Context(), renew.Wish{}).Plan
			said := plan.Notices.String()
			var names []string
			for _, g := range plan.Blocked {
				names, said = append(names, g.Name), said+g.Reason
			}
			if strings.Join(names, " ") != tt.gate || !strings.Contains(said, tt.words) {
				t.Errorf("gates %v, said %q", names, said)
			}
		})
	}
}

// The health of the others is asked again before each stop.
func TestOthersAreAskedBeforeEachStop(t *testing.T) {
	n, turns := newPeer(t)
	n.onHealthy = func(name string) {
		if name == renew.Etcd {
			turns.unready = map[string]string{"cp2": "refused"}
		}
	}
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "kube-apiserver not stopped") || slices.Contains(n.done(), "stop kube-apiserver-1") {
		t.Errorf("%v, %v", err, n.done())
	}
}

func TestReleaseTurn(t *testing.T) {
	n, turns := newPeer(t)
	held := renew.Turn{Held: renew.Held{Holder: "cp2", Failed: "kubeadm", Since: time.Now().Add(-time.Hour)}, Behind: []renew.Held{{Holder: "cp3"}}}
	turns.turn = held
	if s := n.TurnStatus(t.Context()); s.Holder != "cp2" || s.Own || s.Age < 3590 || s.Facts == nil || s.Gone != "" || s.Error != "" {
		t.Errorf("%+v", s)
	}
	if _, err := n.ReleaseTurn(t.Context(), "cp9", false); err == nil || len(turns.history) > 0 {
		t.Errorf("released for another: %v", err)
	}
	if was, err := n.ReleaseTurn(t.Context(), "cp2", false); err != nil || was.Holder != "cp2" || turns.turn.Holder != "cp3" {
		t.Errorf("%v, %+v", err, turns.turn)
	}
	turns.turn.Unknown = "nonsense"
	if _, err := n.ReleaseTurn(t.Context(), "cp3", false); err == nil {
		t.Error("what nobody can read was released without --force")
	}
	if _, err := n.ReleaseTurn(t.Context(), "", true); err != nil || turns.turn.Holder != "" || len(turns.turn.Behind) > 0 {
		t.Errorf("%v, %+v", err, turns.turn)
	}
}
