package renew

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
)

// turns is where the control-plane nodes of a cluster keep whose turn it is.
type turns interface {
	// Read says whose turn it is. An error is ErrNoQuorum if that is why.
	Read(ctx context.Context) (Turn, error)
	// Write puts next in the place of the turn that was read, which is in its Seen, or
	// fails with ErrTurnChanged. copied is what else could not be made to say the same.
	Write(ctx context.Context, next Turn) (copied, err error)
	// Holder looks at another node that holds it.
	Holder(ctx context.Context, node string) HolderFacts
	// Index is this node's place among the control-plane nodes, without asking anybody.
	Index() int
}

// Vars for the tests.
var (
	// yieldFor is how long a free turn is left to nodes whose components do not lead.
	yieldFor = 10 * time.Second
	// passWait is how long who passed waits before it looks at the others' health and
	// begins: longer than a stop takes to begin after the turn was confirmed, with all that
	// is asked in between (etcdDeadline, observeDeadline, stopBudget), so that what the one
	// that was passed has still stopped is seen to be down.
	passWait = time.Minute
	// readAgain is for how long a turn that cannot be read in the middle of a run is asked
	// for again: the API server or etcd of this node was just restarted.
	readAgain = 20 * time.Second
)

const (
	// apart is what nodes that act without a turn leave between them, and apartAfresh where
	// there is nothing left to protect.
	apart       = 20 * time.Second
	apartAfresh = 2 * time.Second
	// turnAgain is how soon a node that waits for one that is at work looks again.
	turnAgain = 5 * time.Second
)

// needsTurn says whether a plan is carried out by one control-plane node at a time.
// Workers have nothing that others rely on, and nobody else relies on a kubelet.
func (n *Node) needsTurn(o Observation, p Plan) bool {
	return n.Turns != nil && o.ControlPlane && p.certificates() && !p.Alone && !p.Mends()
}

// turn reads the turn and decides.
func (n *Node) turn(ctx context.Context, o Observation, p Plan) (Turn, TurnDecision) {
	n.alive()
	f := turnFacts{Node: o.node(), Urgent: p.Urgent, Down: revives(o, p, Etcd) || p.blinded(o) || o.worthless("etcd-ca") != ""}
	if f.Down {
		f.Err = errors.New("it is not asked") // and would let everything else wait
	} else {
		f.Turn, f.Err = n.Turns.Read(ctx)
	}
	if f.Err == nil && f.Turn.Holder != "" && f.Turn.Holder != f.Node {
		f.Holder = n.Turns.Holder(ctx, f.Turn.Holder)
	}
	if f.Err == nil && f.Turn.Holder == "" && !n.yielded {
		f.Leads = n.leads(ctx, p)
	}
	return f.Turn, decideTurn(f)
}

// leads says whether a component leads that is restarted while the API stays up. Where
// kube-apiserver is restarted too, its leaders may leave by themselves.
func (n *Node) leads(ctx context.Context, p Plan) bool {
	if n.Leases == nil || p.restarts(APIServer) || p.restarts(Etcd) {
		return false
	}
	for _, name := range []string{ControllerManager, Scheduler} {
		if p.restarts(name) {
			if release, err := n.Leases.Hold(ctx, name); err == nil && release != nil {
				return true
			}
		}
	}
	return false
}

// gateTurn is the gate that another node has closed.
const gateTurn = "turn"

// lookTurn adds the turn to a plan, as it is now. With other gates closed nobody is asked.
func (n *Node) lookTurn(ctx context.Context, o Observation, p *Plan) {
	if !n.needsTurn(o, *p) || len(p.Blocked) > 0 {
		return
	}
	turn, d := n.turn(ctx, o, *p)
	p.Turn = &SeenTurn{turn, d}
	for _, text := range turn.Notices {
		p.notice(Notice{ID: "turn", Severity: Warning, Text: text, Remedy: "it is written anew with the next turn; see kubecertd lock status"})
	}
	if d.Verdict == TurnWait {
		p.close(gateTurn, errors.New(d.Reason), d.Remedy)
	}
}

// SeenTurn is whose turn it is, and what this node makes of it.
type SeenTurn struct {
	Turn
	Decision TurnDecision `json:"decision"`
}

// takeTurn takes the turn for a plan, or says by a BlockedError why it has to wait. done
// is to be called with how the run ended; it gives the turn back, or keeps it with the
// reason.
func (n *Node) takeTurn(ctx context.Context, o Observation, p *Plan, trigger string) (done func(run string, err error), err error) {
	if !n.needsTurn(o, *p) {
		return func(string, error) {}, nil
	}
	name := o.node()
	for range takeAttempts {
		turn, d := n.turn(ctx, o, *p)
		p.Turn = &SeenTurn{turn, d}
		log := n.Log.With(zap.String("reason", d.Reason))
		switch d.Verdict {
		case TurnWait:
			p.close(gateTurn, errors.New(d.Reason), d.Remedy)
			return nil, &BlockedError{p.Blocked}
		case TurnYield:
			n.yielded = true
			log.Info("the turn is left to others first", event(EventTurnYielded), zap.Duration("for", yieldFor))
			if err := n.sit(ctx, yieldFor); err != nil {
				return nil, fmt.Errorf("told to stop before anything was changed: %w", err)
			}
			continue
		case TurnWithout:
			wait := apart * time.Duration(n.Turns.Index())
			if p.Afresh != "" {
				wait = apartAfresh * time.Duration(n.Turns.Index())
			}
			log.Warn("this node acts without having the turn", event(EventTurnPassed), zap.Duration("after", wait))
			if err := n.sit(ctx, wait); err != nil {
				return nil, fmt.Errorf("told to stop before anything was changed: %w", err)
			}
			return func(string, error) {}, nil
		}
		held := Held{Holder: name, Since: n.Now().UTC().Truncate(time.Microsecond), Reason: purpose(*p, trigger)}
		held.Passed = d.Verdict == TurnPass
		if d.Verdict == TurnGoOn {
			// One that was cut off while it waited has to wait again.
			held.Since, held.Passed = turn.Since, turn.Passed
		}
		// Before it is taken: whoever crashes in between gives back what it never had.
		if err := n.State.write(turnFile, []byte(name+"\n")); err != nil {
			return nil, fmt.Errorf("the turn is not taken: %w", err)
		}
		copied, err := n.Turns.Write(ctx, turn.taken(held, d.Verdict == TurnPass && !d.Gone))
		if errors.Is(err, ErrTurnChanged) {
			continue
		}
		if err != nil {
			p.close(gateTurn, fmt.Errorf("the turn could not be taken: %w", err), "one node at a time is to be restarted: make etcd and the API server answer")
			return nil, &BlockedError{p.Blocked}
		}
		if copied != nil {
			n.Log.Warn("the turn's Lease does not show that this node holds it", zap.Error(copied))
		}
		n.holding = name
		n.yielded = false
		if held.Passed {
			log.Warn("the turn of another node is passed", event(EventTurnPassed), zap.String("holder", turn.Holder), zap.Duration("begins_in", passWait))
			if err := n.sit(ctx, passWait); err != nil {
				n.giveBack(ctx, name)
				return nil, fmt.Errorf("told to stop before anything was changed: %w", err)
			}
			again := *p
			again.Blocked = nil
			// One that was held before may be broken: then it is kept, and the run says why.
			if again.Afresh == "" && (again.restarts(Etcd) || again.restarts(APIServer)) {
				n.gatePeers(ctx, o, <-n.inquire(ctx, o, again), &again)
			}
			if len(again.Blocked) > 0 && !turn.names(name) {
				n.giveBack(ctx, name)
				p.Blocked = again.Blocked
				return nil, &BlockedError{p.Blocked}
			}
		} else {
			log.Info("this node has the turn", event(EventTurnTaken), zap.String("for", held.Reason))
		}
		return func(run string, err error) { n.endTurn(ctx, name, run, err) }, nil
	}
	p.close(gateTurn, errors.New("other nodes took the turn at the same moment"), "it is tried again; see kubecertd lock status")
	return nil, &BlockedError{p.Blocked}
}

// takeAttempts is how often the turn is read again after somebody else has changed it,
// the yield included.
const takeAttempts = 5

// turnFile says that this node may hold the turn, so that a look that finds nothing to do
// need not ask the cluster each time.
const turnFile = "turn"

// endTurn gives the turn back after a run that went well. After one that has failed it is
// kept, with the reason: nobody else is to start while this node may be broken.
func (n *Node) endTurn(ctx context.Context, name, run string, err error) {
	n.holding = ""
	ctx = context.WithoutCancel(ctx)
	if err == nil {
		n.giveBack(ctx, name)
		return
	}
	why := fmt.Sprintf("run %s: %s", run, firstLine(err.Error()))
	n.Log.Warn("this node keeps the turn, because its run failed: no other control-plane node begins",
		event(EventTurnKept), zap.String("remedy", "repair it, and it is given back; or: kubecertd lock release "+name))
	if err := n.changeTurn(ctx, name, func(t Turn) Turn { return t.failed(name, why) }); err != nil {
		n.Log.Warn("the turn does not say that the run failed; it is kept all the same", zap.Error(err))
	}
}

// firstLine is the beginning of an error, short enough for a Lease.
func firstLine(text string) string {
	for i, c := range text {
		if c == '\n' || i > 500 {
			return text[:i] + " …"
		}
	}
	return text
}

// giveBack releases the turn. What fails here is tried again by the next look that finds
// nothing to do.
func (n *Node) giveBack(ctx context.Context, name string) {
	ctx = context.WithoutCancel(ctx)
	err := n.changeTurn(ctx, name, func(t Turn) Turn { return t.released(name) })
	if err == nil {
		err = os.Remove(n.State.path(turnFile))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.Log.Warn("the turn could not be given back yet", zap.Error(err))
		return
	}
	n.holding = ""
	n.Log.Info("the turn is given back", event(EventTurnReleased))
}

// changeTurn changes the turn where it names a node, however often somebody else changes
// it at the same time.
func (n *Node) changeTurn(ctx context.Context, name string, change func(Turn) Turn) error {
	ctx, cancel := context.WithTimeout(ctx, readAgain)
	defer cancel()
	for {
		n.alive()
		turn, err := n.Turns.Read(ctx)
		if err == nil {
			if turn.Unknown != "" || !turn.names(name) {
				return nil // a person has released it
			}
			var copied error
			if copied, err = n.Turns.Write(ctx, change(turn)); err == nil {
				if copied != nil {
					n.Log.Warn("the turn's Lease is not up to date", zap.Error(copied))
				}
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

// settleTurn gives back a turn that this node still holds when there is nothing left to
// do: it was cut off, or a person has repaired what had failed.
func (n *Node) settleTurn(ctx context.Context, seen Look) {
	if _, err := os.Stat(n.State.path(turnFile)); err != nil || n.Turns == nil || !n.settled(seen.Observation) {
		return
	}
	unlock, err := n.State.lockRun()
	if err != nil {
		return // a run is under way
	}
	defer unlock()
	n.giveBack(ctx, seen.Observation.node())
}

// settled says whether there is nothing to do and everything runs, also for what failed
// and is to be tried again later.
func (n *Node) settled(o Observation) bool {
	o.Failures = nil
	if Decide(o, n.Policy, Wish{}).certificates() || len(o.Problems) > 0 {
		return false
	}
	return !slices.ContainsFunc(o.Components, func(c Component) bool { return !c.Running })
}

// confirmTurn makes sure, before something is stopped, that the turn has not passed to
// another node. The others' health is asked after it and
// not before: another may have had the turn in between. What follows has to begin within
// passWait.
func (r *run) confirmTurn(ctx context.Context) error {
	if r.holding == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readAgain)
	defer cancel()
	for {
		r.alive()
		turn, err := r.Turns.Read(ctx)
		switch {
		case err == nil && turn.Holder == r.holding:
			return nil
		case err == nil:
			return fmt.Errorf("nothing more is stopped: this node has lost the turn: %s", turn)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing more is stopped: whether this node still has the turn cannot be told: %w", err)
		case <-time.After(time.Second):
		}
	}
}

// sit waits, and lets the watchdog know.
func (n *Node) sit(ctx context.Context, d time.Duration) error {
	for end := n.Now().Add(d); ; {
		left := end.Sub(n.Now())
		if left <= 0 {
			return nil
		}
		n.alive()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(min(left, time.Second)):
		}
	}
}

// waits is how long to wait for gates that are closed: not long where only a node that is
// at work has to end. Nodes that wait together do not come back together.
func waits(p Plan, node string, retry time.Duration) time.Duration {
	if len(p.Blocked) != 1 || p.Blocked[0].Name != gateTurn || p.Turn == nil || !p.Turn.Decision.Working {
		return retry
	}
	h := fnv.New32a()
	h.Write([]byte(node))
	return min(retry, turnAgain+time.Duration(h.Sum32()%2000)*time.Millisecond)
}
