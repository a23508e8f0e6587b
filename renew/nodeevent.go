package renew

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"
)

// NodeEvent is something that others may want to know, as an event of the node.
type NodeEvent struct {
	ID      string // tells it from all others
	At      time.Time
	Warning bool
	// Reason is what has happened, Action what was done, and Note says it to people.
	Reason, Action, Note string
}

// key tells kinds of events apart: those that differ only in numbers are one that
// happened several times.
func (e NodeEvent) key() string { return e.Reason + " " + withoutDigits(e.Note) }

// The reasons of events that are no reasons of a Condition. They never change their
// meaning.
const (
	ReasonDue        = "CertificateDue"
	ReasonRenewed    = "CertificateRenewed"
	ReasonRolledBack = "CertificateRolledBack"
	ReasonRestarted  = "ComponentRestarted"
)

// lookEvents are what a look has found.
func lookEvents(l Look) []NodeEvent {
	var list []NodeEvent
	add := func(warning bool, reason, note string) {
		list = append(list, NodeEvent{At: l.Observation.At, Warning: warning, Reason: reason, Action: "Look", Note: brief(note)})
	}
	if due := names(l.Plan.Renew); len(due) > 0 {
		add(false, ReasonDue, "to be renewed: "+strings.Join(due, ", "))
	}
	if stale := l.Stale(); len(stale) > 0 {
		add(true, ReasonStale, "what is on disk is not loaded by "+strings.Join(stale, ", "))
	}
	for _, n := range l.Plan.Notices {
		if n.ID == "ca-ends" {
			add(n.Severity != Info, ReasonCAEnds, n.Text)
		}
	}
	return list
}

// runEvents are what a run has done.
func runEvents(r Run, at time.Time) []NodeEvent {
	var list []NodeEvent
	add := func(warning bool, reason, action, note string) {
		list = append(list, NodeEvent{At: at, Warning: warning, Reason: reason, Action: action, Note: brief(note)})
	}
	if len(r.Renewed) > 0 {
		add(false, ReasonRenewed, "Renew", "renewed: "+strings.Join(r.Renewed, ", "))
	}
	back := map[string]bool{}
	for _, e := range r.Entries {
		if name, ok := strings.CutPrefix(e.Step, "put back "); ok && e.Event == "end" && e.Error == "" {
			back[name] = true
		}
	}
	if len(back) > 0 {
		add(true, ReasonRolledBack, "RollBack", "what was written was refused, and is as it was: "+strings.Join(slices.Sorted(maps.Keys(back)), ", "))
	}
	if len(r.Restarted) > 0 {
		add(false, ReasonRestarted, "Restart", "restarted, healthy again: "+strings.Join(r.Restarted, ", "))
	}
	if r.Outcome == Failed {
		add(true, ReasonFailed, "Renew", "run failed: "+r.Error)
	}
	return list
}

// madeEvent is an event that the cluster has.
type madeEvent struct {
	NodeEvent
	count int
}

// forgotten is after what time an API server has forgotten an event (kube-apiserver:
// --event-ttl).
const forgotten = time.Hour

// tellEvent makes an event, or says of one that it has happened again.
func (a *Announcer) tellEvent(ctx context.Context, to announcements, node, uid string, e NodeEvent) error {
	maps.DeleteFunc(a.made, func(_ string, m *madeEvent) bool { return e.At.Sub(m.At) >= forgotten })
	if m := a.made[e.key()]; m != nil {
		again := m.NodeEvent
		again.At = e.At
		there, err := to.RepeatEvent(ctx, node, again, m.count+1)
		if err != nil {
			return err
		}
		if there {
			m.At, m.count = e.At, m.count+1
			return nil
		}
	}
	if err := to.MakeEvent(ctx, node, uid, e); err != nil {
		return err
	}
	a.made[e.key()] = &madeEvent{e, 1}
	return nil
}
