package renew

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	// othersDeadline is how long a run waits for a kubeadm upgrade or a package manager
	// that began after it did. An upgrade takes minutes; what hangs longer is for a
	// person, and the restarts follow when it is gone.
	othersDeadline = 15 * time.Minute
	// othersPoll is how often it looks.
	othersPoll = 500 * time.Millisecond
)

// packagesDeadline is how long it waits for a package manager. That may be waiting in
// turn: the removal of kubecertd's package waits for the end of a run (packaging/prerm.sh)
// and would never see the restarts done. Each restart asks for a healthy kubelet anyway.
var packagesDeadline = time.Minute

// awaitOthers waits until nobody else is at work on this node: a kubeadm upgrade that
// began during the run restarts the same components, and a package manager may be
// about to replace the kubelet that brings them back.
func (r *run) awaitOthers(ctx context.Context) error {
	if err := r.stopping(ctx); err != nil {
		return fmt.Errorf("nothing is restarted: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, othersDeadline)
	defer cancel()
	patience, cancel := context.WithTimeout(ctx, packagesDeadline)
	defer cancel()
	for said := false; ; {
		busy := r.Host.Busy()
		if patience.Err() != nil {
			busy = slices.DeleteFunc(busy, func(b Busy) bool { return b.What == BusyDpkg || b.What == BusyRpm })
		}
		if len(busy) == 0 {
			return nil
		}
		if !said {
			said = true
			r.log.Info("waiting before the restarts", event(EventBlocked), zap.String("for", busy[0].Detail))
		}
		r.alive()
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("nothing is restarted: %s after %s: the restarts follow when it has ended", busy[0].Detail, othersDeadline)
			}
			return fmt.Errorf("told to stop before the restarts: they follow at the next start: %w", context.Cause(ctx))
		case <-time.After(othersPoll):
		}
	}
}

// stopping says that the machine is shutting down. When that cannot be told it is taken
// not to be: what is cut off is put right at the next start.
func (n *Node) stopping(ctx context.Context) error {
	if n.Machine == nil {
		return nil
	}
	switch stopping, err := n.Machine.Stopping(ctx); {
	case err != nil:
		n.Log.Debug("whether the machine is shutting down is not known", zap.Error(err))
		return nil
	case stopping:
		return errors.New("the machine is shutting down")
	default:
		return nil
	}
}

// delayShutdown keeps the machine up until the run has ended, for the few seconds that
// logind grants.
func (r *run) delayShutdown(ctx context.Context) (release func()) {
	if r.Machine == nil {
		return func() {}
	}
	release, err := r.Machine.DelayShutdown(ctx, "certificates are being renewed")
	if err != nil {
		r.log.Debug("a shutdown would not be delayed", zap.Error(err))
	}
	return release
}
