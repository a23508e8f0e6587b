package renew

import (
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// Keep takes a snapshot of what is on disk when the newest is of something else: on the
// day of the installation, and after somebody else's renewal. Without it the first file
// that is damaged would have no copy, and nobody would know what a copy of admin.conf was
// copied from. It is for a node on which nothing is to be done; what cannot be used now is
// not worth keeping.
func (n *Node) Keep(o Observation) error {
	damaged := slices.ContainsFunc(o.Certificates, func(c pki.Certificate) bool {
		return c.State == pki.Invalid && !c.Watched && c.Kind != pki.Memory
	})
	if !o.ControlPlane || damaged || o.Paused != nil || len(o.Busy) > 0 {
		return nil
	}
	layout, _ := n.Locate()
	if newest, err := n.State.newest(); err == nil && newest.still(layout, o.Certificates) {
		return nil
	}
	unlock, err := n.State.lockRun()
	if locked := (*LockedError)(nil); errors.As(err, &locked) {
		return nil // a run takes one itself, and there is a next look
	}
	if err != nil {
		return err
	}
	defer unlock()
	if err := n.room(o); err != nil {
		return fmt.Errorf("no snapshot is taken of what is on disk now: %w", err)
	}
	snap, err := n.State.snapshot(newID(n.Now()), n.Now(), layout, o.Certificates)
	if err != nil {
		return err
	}
	n.State.pruneSnapshots(n.Retention, n.Now())
	n.Log.Info("snapshot taken of what is on disk", event(EventKept), zap.String("snapshot", snap.ID))
	return nil
}

// still says whether a snapshot is of what is on disk now. Times alone do not count: a
// backup tool that touches files every night must not push older snapshots out.
func (s Snapshot) still(layout pki.Layout, certificates []pki.Certificate) bool {
	now := files(certificates)
	for _, f := range now {
		if !slices.ContainsFunc(s.Files, func(g Copied) bool { return g.Path == f.Path }) || !unchanged(s, layout, f.Certificate) {
			return false
		}
	}
	return len(now) == len(s.Files)
}
