package renew

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// What follows is a model of how control-plane nodes take turns: every interleaving of
// what nodes do, with crashes, power cuts, failures, deletions and urgency in between.
// What is decided and how the turn changes hands is not modelled: decideTurn, Turn.taken,
// Turn.released and Turn.failed are called.

// phase is how far a node is in a run.
type phase uint8

const (
	idle      phase = iota // nothing under way
	looked                 // it has read the turn and decided
	waiting                // it has passed somebody, and waits
	has                    // it has the turn
	confirmed              // the turn is still its own
	checked                // and the others are healthy: it may stop something now
	stopped                // something of it is down
	ended                  // it is back and proven healthy
	broke                  // it did not come back
	dead                   // the daemon is not there
)

// modelNode is one node.
type modelNode struct {
	phase   phase
	work    bool // there is something to be restarted
	urgent  bool
	down    bool // its etcd member and API server
	deleted bool // its Node object
	removed bool // it is no member of etcd any more, and never comes back
	silent  bool // its kubelet has not reported for long
	broken  bool // its run has failed
	passed  bool // what it holds it has taken from another
	fresh   bool // the turn has not changed since it looked
	pass    bool // it has decided to pass, and not only to take
	gone    bool // because the other is gone
	named   bool // the turn named it before it took it
}

const failedMark, passedMark = 8, 16

// modelState is the cluster. Comparable, so that what was seen is not followed again.
type modelState struct {
	nodes [3]modelNode
	turn  [3]int8 // the holder and those behind it: 0 is nobody, with marks for failed and passed
	// faults is how many more things may go wrong.
	faults int8
}

func (s modelState) read() Turn {
	held := func(code int8) Held {
		h := Held{Holder: fmt.Sprintf("cp%d", code&7), Since: time.Unix(0, 0)}
		if code&failedMark != 0 {
			h.Failed = "broken"
		}
		h.Passed = code&passedMark != 0
		return h
	}
	var t Turn
	for i, code := range s.turn {
		switch {
		case code == 0:
		case i == 0:
			t.Held = held(code)
		default:
			t.Behind = append(t.Behind, held(code))
		}
	}
	return t
}

// write changes the turn: whoever has looked before has to look again.
func (s *modelState) write(t Turn) {
	s.turn = [3]int8{}
	for i, h := range append([]Held{t.Held}, t.Behind...) {
		if h.Holder == "" {
			continue
		}
		s.turn[i] = int8(h.Holder[2] - '0')
		if h.Failed != "" {
			s.turn[i] |= failedMark
		}
		if h.Passed {
			s.turn[i] |= passedMark
		}
	}
	for i := range s.nodes {
		s.nodes[i].fresh = false
	}
}

// model is the protocol, or one with a mistake in it.
type model struct {
	nodes   int
	faults  int8 // how many things may go wrong
	mistake string
}

// step is what can happen next. A fault is what nobody has to expect.
type step struct {
	what  string
	fault bool
	to    modelState
}

// facts are what others see of a node.
func (s modelState) facts(n modelNode) HolderFacts {
	f := HolderFacts{Node: PartHealthy, Member: PartHealthy, API: PartHealthy}
	if n.silent {
		f.Node, f.Silent = PartUnhealthy, longSilent
	}
	if n.deleted {
		f.Node = PartRemoved
	}
	switch {
	case n.removed:
		f.Member, f.API = PartRemoved, PartRemoved
	case n.down:
		f.Member, f.API = PartUnhealthy, PartUnhealthy
	}
	return f
}

func (m model) steps(s modelState) []step {
	var all []step
	for i := range m.nodes {
		name, n := fmt.Sprintf("cp%d", i+1), s.nodes[i]
		add := func(what string, fault bool, change func(*modelState, *modelNode)) {
			to := s
			if fault {
				if s.faults == 0 {
					return
				}
				to.faults--
			}
			change(&to, &to.nodes[i])
			all = append(all, step{name + " " + what, fault, to})
		}
		m.own(s, n, name, add)
		m.happens(s, i, add)
	}
	return all
}

// own are the steps of a node itself, as Node.Act makes them.
func (m model) own(s modelState, n modelNode, name string, add func(string, bool, func(*modelState, *modelNode))) {
	turn := s.read()
	switch n.phase {
	case idle:
		if !n.work && turn.Holder == name && !n.down {
			add("settles", false, func(s *modelState, _ *modelNode) { s.write(turn.released(name)) })
		}
		if !n.work || n.removed || n.down {
			return
		}
		f := turnFacts{Node: name, Turn: turn}
		if n.urgent {
			f.Urgent = "it expires"
		}
		if turn.Holder != "" && turn.Holder != name {
			f.Holder = s.facts(s.nodes[turn.Holder[2]-'1'])
		}
		d := decideTurn(f)
		if m.mistake == "a failed run is no reason to wait" && turn.Failed != "" {
			d = TurnDecision{Verdict: TurnTake}
		}
		if d.Verdict != TurnWait {
			add("looks: "+d.Verdict, false, func(_ *modelState, n *modelNode) {
				n.phase, n.fresh, n.pass, n.gone = looked, true, d.Verdict == TurnPass, d.Gone
			})
		}
	case looked:
		switch {
		case n.fresh || m.mistake == "writes are not compared":
			add("takes", false, func(s *modelState, _ *modelNode) {
				s.nodes[name[2]-'1'].named = turn.names(name)
				held := Held{Holder: name, Passed: n.pass || turn.Holder == name && turn.Passed && m.mistake != "who was cut off does not wait"}
				s.write(turn.taken(held, n.pass && !n.gone))
				of := &s.nodes[name[2]-'1']
				of.phase, of.passed = has, held.Passed
				if held.Passed {
					of.phase = waiting
				}
			})
		default:
			add("was too late", false, func(_ *modelState, n *modelNode) { n.phase = idle })
		}
	case waiting:
		// What was confirmed before has been stopped by then, or never will be.
		late := slices.ContainsFunc(s.nodes[:m.nodes], func(n modelNode) bool { return n.phase == confirmed || n.phase == checked })
		if !late || m.mistake == "who passes does not wait" {
			if m.othersUp(s, name) || n.named {
				add("has waited", false, func(_ *modelState, n *modelNode) { n.phase = has })
				return
			}
			add("gives it back: the others are not healthy", false, func(s *modelState, n *modelNode) {
				s.write(turn.released(name))
				n.phase, n.passed = idle, false
			})
		}
	case has:
		if turn.Holder == name || m.mistake == "the turn is not confirmed" {
			add("still has the turn", false, func(_ *modelState, n *modelNode) { n.phase = confirmed })
		} else {
			add("has lost the turn", false, func(_ *modelState, n *modelNode) { n.phase = broke })
		}
	case confirmed:
		if m.othersUp(s, name) || m.mistake == "the others' health is not asked for" {
			add("finds the others healthy", false, func(_ *modelState, n *modelNode) { n.phase = checked })
		} else {
			add("finds the others not healthy", false, func(_ *modelState, n *modelNode) { n.phase = broke })
		}
	case checked:
		add("stops", false, func(_ *modelState, n *modelNode) { n.phase, n.down = stopped, true })
	case stopped:
		add("is back", false, func(_ *modelState, n *modelNode) { n.phase, n.down, n.work, n.broken = ended, false, false, false })
		add("does not come back", true, func(_ *modelState, n *modelNode) { n.phase = broke })
	case ended:
		add("releases", false, func(s *modelState, n *modelNode) {
			s.write(turn.released(name))
			n.phase, n.passed, n.urgent = idle, false, false
		})
	case broke:
		add("keeps the turn", false, func(s *modelState, n *modelNode) {
			s.write(turn.failed(name, "broken"))
			n.phase, n.passed, n.broken = idle, false, true
		})
	}
}

// othersUp is what is asked before a stop.
func (m model) othersUp(s modelState, name string) bool {
	for j, o := range s.nodes[:m.nodes] {
		if o.down && !o.removed && fmt.Sprintf("cp%d", j+1) != name {
			return false
		}
	}
	return true
}

// happens are what happens to a node.
func (m model) happens(s modelState, i int, add func(string, bool, func(*modelState, *modelNode))) {
	n := s.nodes[i]
	if n.removed {
		return
	}
	// Members that fail beside one that is down are no fault of ours.
	calm := true
	for j, o := range s.nodes[:m.nodes] {
		if j != i && (o.down && !o.removed || o.phase == checked || o.phase == confirmed) {
			calm = false
		}
	}
	if n.phase == dead || n.phase == idle && n.down {
		add("is repaired", false, func(_ *modelState, n *modelNode) { n.phase, n.down, n.silent = idle, false, false })
	}
	if n.phase != dead {
		add("crashes", true, func(_ *modelState, n *modelNode) { n.phase, n.fresh = dead, false })
		if calm {
			add("loses its power", true, func(_ *modelState, n *modelNode) { n.phase, n.fresh, n.down = dead, false, true })
		}
	}
	if n.phase == dead && !n.silent {
		add("is silent for long", false, func(_ *modelState, n *modelNode) { n.silent = true })
	}
	if !n.deleted {
		add("is deleted", true, func(_ *modelState, n *modelNode) { n.deleted = true })
	}
	if n.deleted && n.phase == dead {
		add("is taken out of etcd", false, func(_ *modelState, n *modelNode) { n.removed, n.down = true, false })
	}
	if n.work && !n.urgent {
		add("becomes urgent", true, func(_ *modelState, n *modelNode) { n.urgent = true })
	}
}

// wrong says which invariant a state breaks.
func (m model) wrong(s modelState) string {
	down, acting, begins, broken := 0, 0, 0, 0
	for _, n := range s.nodes[:m.nodes] {
		if n.down && !n.removed {
			down++
		}
		switch {
		case (n.phase == checked || n.phase == stopped) && !n.passed:
			acting++
			if n.phase == checked {
				begins++
			}
		case n.broken && !n.deleted && n.phase == idle:
			broken++
		}
	}
	switch {
	case down > 1:
		return "two members are down at once"
	case acting > 1:
		return "two nodes act at once, and neither has passed the other"
	case begins > 0 && broken > 0:
		return "a node begins to stop something while another is known to be broken, and has not passed it"
	}
	return ""
}

// explore follows every interleaving. It returns how many states there are, and the way
// to the first that is wrong.
func (m model) explore() (states int, trace []string) {
	type from struct {
		state modelState
		what  string
	}
	start := modelState{faults: m.faults}
	for i := range m.nodes {
		start.nodes[i].work = true
	}
	came := map[modelState]from{start: {}}
	back := map[modelState][]modelState{} // without faults
	queue := []modelState{start}
	path := func(s modelState, end string) []string {
		trace := []string{end}
		for s != start {
			f := came[s]
			trace, s = append(trace, f.what), f.state
		}
		slices.Reverse(trace)
		return trace
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if why := m.wrong(s); why != "" {
			return len(came), path(s, why)
		}
		for _, next := range m.steps(s) {
			if next.to == s {
				continue
			}
			if !next.fault && !strings.HasSuffix(next.what, "is repaired") {
				back[next.to] = append(back[next.to], s)
			}
			if _, known := came[next.to]; !known {
				came[next.to] = from{s, next.what}
				queue = append(queue, next.to)
			}
		}
	}
	// Whoever is healthy must get the turn and give it back, whatever has gone wrong
	// before, without anybody's help.
	good := map[modelState]bool{}
	for s := range came {
		if m.done(s) {
			good[s] = true
			queue = append(queue, s)
		}
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		for _, before := range back[s] {
			if !good[before] {
				good[before] = true
				queue = append(queue, before)
			}
		}
	}
	for s := range came {
		if m.healthyOrGone(s) && !good[s] {
			return len(came), path(s, "the turn can never be used again, although every node is healthy or gone")
		}
	}
	return len(came), nil
}

// done says that all that live have done their work, and none of them holds the turn.
func (m model) done(s modelState) bool {
	for i, n := range s.nodes[:m.nodes] {
		if n.removed || n.phase == dead {
			continue
		}
		if n.work || n.phase != idle || s.read().Holder == fmt.Sprintf("cp%d", i+1) {
			return false
		}
	}
	return true
}

// healthyOrGone says that nobody is broken, nor without a daemon that might come back.
func (m model) healthyOrGone(s modelState) bool {
	for _, n := range s.nodes[:m.nodes] {
		if !n.removed && (n.phase == dead || n.phase == broke || n.down && n.phase != stopped) {
			return false
		}
	}
	return true
}

func TestTurnModel(t *testing.T) {
	t.Parallel()
	limits := map[int]int8{2: 3, 3: 1}
	if testing.Short() {
		limits[2] = 2
	}
	if os.Getenv("KUBECERTD_SOAK") != "" {
		limits = map[int]int8{2: 4, 3: 3} // millions of states
	}
	for nodes, faults := range limits {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			states, trace := model{nodes: nodes, faults: faults}.explore()
			t.Logf("%d states", states)
			if trace != nil {
				t.Errorf("after\n  %s", strings.Join(trace, "\n  "))
			}
			if states < 1000 {
				t.Errorf("only %d states: the model does not move", states)
			}
		})
	}
}

// Each of these mistakes must be found, or the model proves nothing.
func TestTurnModelFindsMistakes(t *testing.T) {
	t.Parallel()
	for _, mistake := range []string{"writes are not compared", "who passes does not wait", "who was cut off does not wait", "the turn is not confirmed", "a failed run is no reason to wait", "the others' health is not asked for"} {
		states, trace := model{nodes: 2, faults: 3, mistake: mistake}.explore()
		if trace == nil {
			t.Errorf("%q was not found in %d states", mistake, states)
			continue
		}
		t.Logf("%s:\n  %s", mistake, strings.Join(trace, "\n  "))
	}
}
