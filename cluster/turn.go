package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
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

// TurnRecord says whose turn it is.
type TurnRecord struct {
	Held
	// Behind are those that were passed, the last first.
	Behind []Held `json:"behind,omitempty"`
}

// Turn is where the control-plane nodes of a cluster keep whose turn it is to be worked
// on: a key in etcd where etcd runs on them, and Lease kube-system/kubecertd-turn.
//
// Where there is the key, it is what excludes: whoever can work at all reaches etcd with
// the node's own certificates, with the API or without it, and every change is a
// transaction that etcd refuses when the key was changed meanwhile. The Lease is the same
// for people and programs to see, and it holds too: one that was taken by hand is
// respected. It alone excludes where etcd is somebody else's.
type Turn struct {
	API
	// Etcd is the member on this node; nil where it has none.
	Etcd *Etcd
}

// TurnSeen is a turn as it was read, and what a write compares with.
type TurnSeen struct {
	TurnRecord
	// Unknown is why it cannot be told who holds it, which counts as held.
	Unknown string
	// Notices are what is wrong and does not matter for who holds it.
	Notices []string

	key   keySeen
	lease leaseSeen
}

// ErrTurnChanged says that somebody else was faster.
var ErrTurnChanged = errors.New("the turn has changed since it was read")

// ErrNoQuorum says that this node's etcd answers and cannot decide anything.
var ErrNoQuorum = errors.New("etcd has no quorum")

// Read says whose turn it is.
func (t Turn) Read(ctx context.Context) (TurnSeen, error) {
	var seen TurnSeen
	var keyErr, leaseErr error
	var wg sync.WaitGroup
	if t.Etcd != nil {
		wg.Go(func() { seen.key, keyErr = t.Etcd.readTurn(ctx) })
	}
	wg.Go(func() { seen.lease, leaseErr = t.readLease(ctx) })
	wg.Wait()
	switch {
	case t.Etcd != nil && keyErr != nil:
		return TurnSeen{}, keyErr
	case t.Etcd == nil && leaseErr != nil:
		return TurnSeen{}, leaseErr
	}
	if leaseErr != nil {
		seen.Notices = append(seen.Notices, fmt.Sprintf("the turn's Lease cannot be read, and etcd's key alone counts: %v", leaseErr))
	}
	seen.merge(t.Etcd != nil)
	return seen, nil
}

// merge says who holds the turn by both. What the key says counts; a Lease that was
// taken after the key was written last, by hand, counts while the key is free. Its
// resourceVersion is etcd's revision, as the key's is (apiserver: storage/etcd3/store.go).
// A Lease can never free what the key holds: one that was written late by somebody who
// released would.
func (s *TurnSeen) merge(keyed bool) {
	s.TurnRecord = s.lease.record
	switch {
	case !keyed:
		s.Unknown = s.lease.nonsense
		return
	case s.lease.nonsense != "":
		s.Notices = append(s.Notices, s.lease.nonsense+"; etcd's key counts, and the Lease is written anew with it")
	}
	leased := s.lease.nonsense == "" && s.lease.record.Holder != "" && s.lease.revision() > s.key.revision
	switch {
	case s.key.nonsense != "":
		// The Lease says the same unless one of them was written by hand.
		if s.lease.nonsense != "" || s.lease.record.Holder == "" {
			s.Unknown = s.key.nonsense
		} else {
			s.Notices = append(s.Notices, s.key.nonsense+"; the Lease counts")
		}
	case s.key.record.Holder != "" || !leased:
		s.TurnRecord = s.key.record
	}
}

// Write puts next in the place of what was seen, unless that has changed: then the error
// is ErrTurnChanged and nothing was written. copied is why the Lease could not be made
// to say the same as etcd's key, which is no reason not to act.
func (t Turn) Write(ctx context.Context, seen TurnSeen, next TurnRecord) (copied, err error) {
	if t.Etcd == nil {
		return nil, t.writeLease(ctx, seen.lease, next)
	}
	if err := t.Etcd.writeTurn(ctx, seen.key, next); err != nil {
		return nil, err
	}
	return t.writeLease(ctx, seen.lease, next), nil
}

// parseTurn reads a record defensively: people can edit it.
func parseTurn(content []byte) (TurnRecord, error) {
	var r TurnRecord
	if err := json.Unmarshal(content, &r); err != nil {
		return TurnRecord{}, err
	}
	return r, nil
}

// revision is the resourceVersion as etcd counts it; 0 when it is no number.
func (s leaseSeen) revision() int64 {
	n, err := strconv.ParseInt(s.version, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
