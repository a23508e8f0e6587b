package renew

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// TurnStatus is whose turn it is, for people.
type TurnStatus struct {
	Turn
	// Node is this node, and Own says that it holds the turn.
	Node string `json:"node"`
	Own  bool   `json:"own"`
	// Age is for how long it has been held, in seconds, by this node's clock.
	Age int64 `json:"ageSeconds,omitempty"`
	// Facts are what is seen of another node that holds it, and Gone why it seems to be
	// gone; empty when it does not.
	Facts *HolderFacts `json:"facts,omitempty"`
	Gone  string       `json:"gone,omitempty"`
	// Error is why it could not be read.
	Error string `json:"error,omitempty"`
}

// turnLook bounds what a person waits for.
const turnLook = 8 * time.Second

// TurnStatus asks whose turn it is.
func (n *Node) TurnStatus(ctx context.Context) TurnStatus {
	ctx, cancel := context.WithTimeout(ctx, turnLook)
	defer cancel()
	now := n.Now()
	o := n.ObserveDisk(now)
	s := TurnStatus{Node: o.node()}
	var err error
	switch {
	case n.Turns == nil || !o.ControlPlane:
		err = errors.New("this node is no control-plane node: it takes turns with nobody")
	default:
		s.Turn, err = n.Turns.Read(ctx)
	}
	if err != nil {
		s.Error = err.Error()
		return s
	}
	s.Own = s.Holder != "" && s.Holder == s.Node
	if s.Holder != "" && !s.Since.IsZero() {
		s.Age = int64(max(now.Sub(s.Since), 0) / time.Second)
	}
	if s.Holder != "" && !s.Own {
		facts := n.Turns.Holder(ctx, s.Holder)
		s.Facts = &facts
		_, s.Gone = gone(s.Held, facts)
	}
	return s
}

// ReleaseTurn gives the turn back for a node, as a person asks, and returns what it was.
// The holder is to be named, so that not one that has just begun loses it by mistake;
// force releases it whoever holds it, those that were passed too.
func (n *Node) ReleaseTurn(ctx context.Context, holder string, force bool) (was Turn, err error) {
	if n.Turns == nil {
		return was, errors.New("this node takes turns with nobody")
	}
	if was, err = n.Turns.Read(ctx); err != nil {
		return was, err
	}
	next := Turn{Seen: was.Seen}
	switch {
	case force:
	case was.Unknown != "":
		return was, fmt.Errorf("%s: with --force it is released all the same", was)
	case was.Holder == "" && len(was.Behind) == 0:
		return was, nil
	case !was.names(holder):
		return was, fmt.Errorf("nothing was released: %s, and not of %q", was, holder)
	default:
		next = was.released(holder)
	}
	copied, err := n.Turns.Write(ctx, next)
	if errors.Is(err, ErrTurnChanged) {
		return was, errors.New("nothing was released: the turn has changed at this moment: look again with kubecertd lock status")
	}
	if err == nil && copied != nil {
		return was, fmt.Errorf("it is released, but the Lease still shows it: %w", copied)
	}
	return was, err
}
