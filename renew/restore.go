package renew

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// Difference is one certificate of a snapshot beside what is on disk now.
type Difference struct {
	Certificate string          `json:"certificate"`
	Path        string          `json:"path"`
	Then        pki.Certificate `json:"then"`
	Now         pki.Certificate `json:"now"`
	// Same says that its files are exactly those of the snapshot.
	Same bool `json:"same"`
	// Problem is why it could not be used if it were put back; empty when it could.
	Problem string `json:"problem,omitempty"`
}

// Compare says for each certificate that kubeadm renews how it was when the snapshot
// was taken, and whether it could be put back.
func (n *Node) Compare(snap Snapshot) []Difference {
	now := n.Now()
	layout, _ := n.Locate()
	current := Observation{Certificates: layout.Read(now)}
	copies := layout
	copies.Root = snap.dir
	var list []Difference
	for _, then := range copies.Read(now) {
		if then.Renewer != pki.Kubeadm || then.State == pki.Missing && len(snap.of(then.Name)) == 0 {
			continue
		}
		d := Difference{Certificate: then.Name, Path: then.Path, Then: then, Same: unchanged(snap, layout, then.Name)}
		d.Now, _ = current.Certificate(then.Name)
		switch {
		case then.State != pki.OK && then.State != pki.External: // the CA's key is not among the copies
			d.Problem = fmt.Sprintf("it is %s: %s", then.State, then.Reason)
		case then.CA != "" && !unchanged(snap, layout, then.CA):
			d.Problem = fmt.Sprintf("its CA %s is another one now", then.CA)
		}
		list = append(list, d)
	}
	return list
}

// Restore puts the certificates of a snapshot back and restarts what holds others, as a
// run that can be cut off and is recorded like any other: with a snapshot of what is
// there now, the same checks, gates, restarts and proof. Nothing is touched when a
// certificate of the snapshot could not be used, or a gate is closed; a dry run stops
// there. It returns what it would change, or has changed.
func (n *Node) Restore(ctx context.Context, snapshot string, dry bool) (id string, changes []Difference, err error) {
	snap, err := n.State.Snapshot(snapshot)
	if err != nil {
		return "", nil, err
	}
	unlock, err := n.State.lockRun()
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	if err := n.recoverLocked(ctx); err != nil {
		return "", nil, fmt.Errorf("what the last run left must be put right first: %w", err)
	}
	var unfit []error
	for _, d := range n.Compare(snap) {
		if d.Same {
			continue
		}
		changes = append(changes, d)
		if d.Problem != "" {
			unfit = append(unfit, fmt.Errorf("%s of snapshot %s cannot be put back: %s", d.Certificate, snapshot, d.Problem))
		}
	}
	if len(unfit) > 0 {
		return "", changes, fmt.Errorf("nothing was changed: %w", errors.Join(unfit...))
	}
	if len(changes) == 0 {
		return "", nil, nil
	}
	o := n.observe(ctx, n.Now())
	plan := n.restorePlan(ctx, o, snapshot, changes)
	if len(plan.Blocked) > 0 {
		return "", changes, &BlockedError{plan.Blocked}
	}
	if dry {
		return "", changes, nil
	}
	done, err := n.takeTurn(ctx, o, &plan, "restore "+snapshot)
	if err != nil {
		return "", changes, err
	}
	defer func() { done(id, err) }()
	id, err = n.carryOut(ctx, "restore "+snapshot, plan, func(r *run) (failures, stop error) { return nil, r.restore(o, snap, changes) })
	return id, changes, err
}

// restorePlan is what a restoration restarts, and the gates that are closed.
func (n *Node) restorePlan(ctx context.Context, o Observation, snapshot string, changes []Difference) Plan {
	p := Plan{At: o.At, Renew: []Renewal{}, Restart: []Restart{}, Blocked: []Gate{}, Paused: o.Paused}
	for _, name := range order(o.Others) {
		for _, d := range changes {
			c, _ := o.Component(name)
			if c.Running && slices.ContainsFunc(o.holdings(), func(h Holding) bool {
				return h.Component == name && h.Certificate == d.Certificate && n.Policy.Restart.renewed(h)
			}) {
				p.Restart = append(p.Restart, Restart{name, d.Certificate + " is restored from snapshot " + snapshot})
				break
			}
		}
	}
	p.Blocked = append(p.Blocked, gates(o, p)...)
	n.gate(ctx, o, &p)
	if err := n.room(o); err != nil {
		p.close("disk", err, "make room, or mount it for writing")
	}
	return p
}

// restore puts certificates back from an older snapshot. What is there now is kept in
// one of its own, to which a restoration that fails or is cut off returns.
func (r *run) restore(o Observation, snap Snapshot, changes []Difference) error {
	layout, _ := r.Locate()
	if err := r.takeSnapshot(layout, o); err != nil {
		return err
	}
	for _, d := range changes {
		step := "restore " + d.Certificate
		if err := r.begin(step, "from snapshot "+snap.ID); err != nil {
			return err
		}
		err := snap.putBack(layout, d.Certificate, true)
		if err == nil {
			if c, _ := (Observation{Certificates: layout.Read(r.Now())}).Certificate(d.Certificate); c.State != pki.OK && c.State != pki.External {
				err = fmt.Errorf("%s is %s after it was restored: %s", c.Path, c.State, c.Reason)
			}
		}
		if err = errors.Join(err, r.end(step, "", "", err)); err != nil {
			return errors.Join(err, r.putBack(layout, d.Certificate, "it could not be restored", false))
		}
		r.renewed = append(r.renewed, d.Certificate)
		r.log.Info("certificate restored", event(EventRestored), zap.String("certificate", d.Certificate), zap.String("snapshot", snap.ID))
	}
	return nil
}
