package renew

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Held is one node's hold on the turn.
type Held struct {
	Holder string    `json:"holder"`           // the node's name; empty when nobody holds it
	Since  time.Time `json:"since,omitzero"`   // when it was taken
	Reason string    `json:"reason,omitempty"` // what for
	Failed string    `json:"failed,omitempty"` // why the holder's run failed, if it did
	// Passed says that it was taken from another node, which may have been about to stop
	// something.
	Passed bool `json:"passed,omitempty"`
}

// Turn says which control-plane node of the cluster may change anything now. It belongs
// to a node and not to a process: one that was cut off goes on with it.
type Turn struct {
	Held
	// Behind are those that were passed, the last first. They hold the turn again when
	// who passed them has given it back, so that a node that is broken stays known.
	Behind []Held `json:"behind,omitempty"`
	// Unknown is why it cannot be told who holds it, which counts as held.
	Unknown string `json:"unknown,omitempty"`
	// Notices are what is wrong and does not matter for who holds it.
	Notices []string `json:"notices,omitempty"`

	// Seen is what a write compares with; it is the store's.
	Seen any `json:"-"`
}

// ErrTurnChanged says that another node was faster.
var ErrTurnChanged = errors.New("the turn has changed since it was read")

// ErrNoQuorum says that this node's etcd answers and cannot decide anything.
var ErrNoQuorum = errors.New("etcd has no quorum")

// taken is the turn in the hands of a node. Where it is passed, who held it stays behind.
// A node whose run has failed is as broken as it was until it has been healthy.
func (t Turn) taken(by Held, passed bool) Turn {
	next := Turn{Held: by, Seen: t.Seen}
	if passed && t.Holder != "" && t.Holder != by.Holder {
		next.Behind = append(next.Behind, t.Held)
	}
	for _, h := range t.Behind {
		if h.Holder != by.Holder {
			next.Behind = append(next.Behind, h)
		} else if next.Failed == "" {
			next.Failed = h.Failed
		}
	}
	if t.Holder == by.Holder && next.Failed == "" {
		next.Failed = t.Failed
	}
	return next
}

// released is the turn without a node, whether that holds it or was passed.
func (t Turn) released(node string) Turn {
	all := append([]Held{t.Held}, t.Behind...)
	all = slices.DeleteFunc(all, func(h Held) bool { return h.Holder == node || h.Holder == "" })
	next := Turn{Seen: t.Seen}
	if len(all) > 0 {
		next.Held, next.Behind = all[0], all[1:]
	}
	return next
}

// failed is the turn with the reason why a node's run has failed, whether that holds it
// or was passed.
func (t Turn) failed(node, why string) Turn {
	t.Behind = slices.Clone(t.Behind)
	if t.Holder == node {
		t.Failed = why
	}
	for i, h := range t.Behind {
		if h.Holder == node {
			t.Behind[i].Failed = why
		}
	}
	return t
}

// names says whether a node holds the turn or was passed.
func (t Turn) names(node string) bool {
	return t.Holder == node || slices.ContainsFunc(t.Behind, func(h Held) bool { return h.Holder == node })
}

// String says who holds it, since when and what for.
func (t Turn) String() string {
	switch {
	case t.Unknown != "":
		return "nobody knows whose turn it is: " + t.Unknown
	case t.Holder == "":
		return "it is nobody's turn"
	}
	text := "it is the turn of " + t.Holder
	if !t.Since.IsZero() {
		text += ", since " + t.Since.UTC().Format(pki.TimeLayout)
	}
	if t.Reason != "" {
		text += " (" + t.Reason + ")"
	}
	if t.Failed != "" {
		text += "; its run failed: " + t.Failed
	}
	return text
}

// PartState is how one part of another node is, as far as this one can see.
type PartState string

// What a part of another node can be.
const (
	PartUnknown   PartState = "unknown" // it could not be told
	PartHealthy   PartState = "healthy"
	PartUnhealthy PartState = "unhealthy" // it should be there and does not work
	PartRemoved   PartState = "removed"   // the cluster has no such part
)

// HolderFacts are what is seen of the node that holds the turn.
type HolderFacts struct {
	// Node is the Node object: healthy while its kubelet reports, unhealthy when it does
	// not, removed when it was deleted.
	Node PartState `json:"node"`
	// Silent is for how long its kubelet has not reported.
	Silent time.Duration `json:"silent,omitempty"`
	// Member is its etcd member, and API its API server.
	Member PartState `json:"member"`
	API    PartState `json:"api"`
}

// longSilent is for how long a kubelet must not have reported for its node to count as
// gone. A run restarts the kubelet, which is silent for seconds then, and for not more
// than a few minutes if it hangs. The rest is for clocks that are apart.
const longSilent = 20 * time.Minute

// gone says whether the holder is gone, and not only at work, slow or broken: nobody
// would ever give the turn back, and nothing of the holder that others rely on is down.
// There is no time limit for a holder that reports: it may be in the middle of a restart
// that takes long, and one that is broken keeps the others from breaking too.
func gone(h Held, f HolderFacts) (bool, string) {
	whole := func(s PartState) bool { return s == PartHealthy || s == PartRemoved }
	if !whole(f.Member) || !whole(f.API) {
		return false, ""
	}
	switch {
	case f.Node == PartRemoved:
		return true, fmt.Sprintf("%s is no node of this cluster (its etcd member: %s, its API server: %s)", h.Holder, f.Member, f.API)
	case f.Node == PartUnhealthy && f.Silent >= longSilent && h.Failed == "":
		return true, fmt.Sprintf("the kubelet of %s has not reported for %s (its etcd member: %s, its API server: %s)",
			h.Holder, pki.Span(f.Silent), f.Member, f.API)
	default:
		return false, ""
	}
}

// turnFacts are all that decides whose turn it is.
type turnFacts struct {
	Node string // this one's name
	Turn Turn
	Err  error // why the turn could not be read
	// Holder is what is seen of another node that holds it.
	Holder HolderFacts
	Urgent string // why this node waits for nobody
	// Down says that etcd of this node cannot be asked because of what the plan puts right,
	// or because its CA has run out, and that nobody can rely on it as it is.
	Down bool
	// Leads says that a component to be restarted leads, and that this node has not yet
	// left the turn to those whose components do not.
	Leads bool
}

// Verdict on the turn.
const (
	TurnTake    = "take"    // it is free
	TurnGoOn    = "go on"   // this node holds it already
	TurnYield   = "yield"   // it is free, and others are to have it first
	TurnPass    = "pass"    // another node holds it, and is passed
	TurnWithout = "without" // there is nothing that could keep it, and nothing to lose
	TurnWait    = "wait"
)

// TurnDecision is what this node does about the turn, and why.
type TurnDecision struct {
	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
	// Remedy is what a person can do where it has to wait.
	Remedy string `json:"remedy,omitempty"`
	// Working says that the holder is at work and the turn may be free at any moment.
	Working bool `json:"working,omitempty"`
	// Gone says that who is passed will not come back.
	Gone bool `json:"gone,omitempty"`
}

// decideTurn says whether this node may act. It is a pure function.
func decideTurn(f turnFacts) TurnDecision {
	const status = "see kubecertd lock status"
	wait := func(reason, remedy string) TurnDecision {
		return TurnDecision{Verdict: TurnWait, Reason: reason, Remedy: remedy}
	}
	switch {
	case f.Node == "":
		return wait("this node does not know its own name", "it is read from the kubelet's client certificate: kubecertd status")
	case f.Err != nil && f.Urgent != "" && errors.Is(f.Err, ErrNoQuorum):
		return TurnDecision{Verdict: TurnWithout, Reason: "etcd has no quorum, so that there is no availability to protect; " + f.Urgent}
	case f.Err != nil && f.Down:
		return TurnDecision{Verdict: TurnWithout, Reason: fmt.Sprintf("etcd of this node cannot say whose turn it is (%v), and nobody relies on it as it is", f.Err)}
	case f.Err != nil && f.Urgent != "":
		return TurnDecision{Verdict: TurnWithout, Reason: fmt.Sprintf("nobody can be asked whose turn it is (%v), and it can wait no longer: %s", f.Err, f.Urgent)}
	case f.Err != nil:
		return wait("nobody can be asked whose turn it is: "+f.Err.Error(),
			"one node at a time is to be restarted: make etcd and the API server answer; when a certificate becomes critical it is done all the same")
	case f.Turn.Unknown != "" && f.Urgent != "":
		return TurnDecision{Verdict: TurnPass, Reason: f.Turn.String() + "; " + f.Urgent}
	case f.Turn.Unknown != "":
		return wait(f.Turn.String(), "when no other node is at work: kubecertd lock release --force")
	case f.Turn.Holder == f.Node:
		return TurnDecision{Verdict: TurnGoOn, Reason: "this node holds the turn since " + f.Turn.Since.UTC().Format(pki.TimeLayout)}
	case f.Turn.Holder == "" && f.Leads:
		return TurnDecision{Verdict: TurnYield, Reason: "what is restarted here leads: the standbys of the other nodes come first"}
	case f.Turn.Holder == "":
		return TurnDecision{Verdict: TurnTake, Reason: "it is nobody's turn"}
	}
	if gone, why := gone(f.Turn.Held, f.Holder); gone {
		return TurnDecision{Verdict: TurnPass, Gone: true, Reason: f.Turn.String() + "; the holder is gone: " + why}
	}
	if f.Urgent != "" {
		return TurnDecision{Verdict: TurnPass, Reason: f.Turn.String() + "; it is passed: " + f.Urgent}
	}
	d := wait(f.Turn.String(), "it is waited for; "+status)
	if d.Working = f.Turn.Failed == ""; !d.Working {
		d.Remedy = fmt.Sprintf("repair %s, which gives it back then, or let the others go on without: kubecertd lock release %s", f.Turn.Holder, f.Turn.Holder)
	}
	return d
}

// purpose is what a plan takes the turn for.
func purpose(p Plan, trigger string) string {
	var parts []string
	if len(p.Renew) > 0 {
		parts = append(parts, fmt.Sprintf("renew %d certificates", len(p.Renew)))
	}
	if len(p.Restart) > 0 {
		parts = append(parts, "restart "+strings.Join(components(p.Restart), ", "))
	}
	return strings.Join(append(parts, "trigger: "+trigger), "; ")
}
