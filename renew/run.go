package renew

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// BlockedError says that there is something to do and a gate is closed. Nothing
// was touched.
type BlockedError struct{ Gates []Gate }

func (e *BlockedError) Error() string {
	var text []string
	for _, g := range e.Gates {
		text = append(text, fmt.Sprintf("%s: %s: %s", g.Name, g.Reason, g.Remedy))
	}
	return "blocked by " + strings.Join(text, "; ")
}

// run is one carrying-out of a plan.
type run struct {
	*Node
	*recorder
	log  *zap.Logger
	plan Plan
	// snapshot is what the node was before this run changed anything.
	snapshot Snapshot
	// renewed are the certificates that are new and validated.
	renewed []string
	// replaced are the certificates that the restarts are to replace, as they were.
	replaced []renewal
	// owes says that a certificate is still to be put back.
	owes bool
	// again says that this ends a run that could not be ended before, which was said then.
	again bool
}

// Act carries out what is to be done now: it takes the node's lock, looks, and, if
// no gate is closed, renews, restarts and proves. It returns what it saw and, when
// there was anything to do, the id of the run. trigger says why it was called, for
// the record.
//
// A cancelled context ends it between two renewals. From the first restart on the
// way is forward: what was stopped is brought back and proven, each step under its
// own deadline.
func (n *Node) Act(ctx context.Context, wish Wish, trigger string) (id string, look Look, err error) {
	unlock, err := n.State.lockRun()
	if err != nil {
		return "", Look{}, err
	}
	defer unlock()
	if err := n.recoverLocked(ctx); err != nil {
		return "", Look{}, fmt.Errorf("what the last run left must be put right first: %w", err)
	}
	look = n.Look(ctx, wish)
	if len(look.Plan.Blocked) > 0 {
		return "", look, &BlockedError{look.Plan.Blocked}
	}
	if !look.Plan.Work() {
		return "", look, nil
	}
	if err := n.askHook(ctx, &look); err != nil {
		return "", look, err
	}
	id, err = n.inTurn(ctx, &look, trigger)
	if err != nil || !look.Plan.Mends() || ctx.Err() != nil {
		return id, look, err
	}
	// The kubelet can bring back again what is stopped, and what waited for it follows.
	next := n.Look(ctx, wish)
	switch {
	case len(next.Plan.Blocked) > 0:
		return id, next, &BlockedError{next.Plan.Blocked}
	case !next.Plan.Work() || next.Plan.Mends():
		return id, look, nil
	}
	if err := n.askHook(ctx, &next); err != nil {
		return id, next, err
	}
	id, err = n.inTurn(ctx, &next, trigger)
	return id, next, err
}

// inTurn carries out what a look found, while it is this node's turn.
func (n *Node) inTurn(ctx context.Context, look *Look, trigger string) (id string, err error) {
	done, err := n.takeTurn(ctx, look.Observation, &look.Plan, trigger)
	if err != nil {
		return "", err
	}
	defer func() { done(id, err) }()
	return n.carryOut(ctx, trigger, look.Plan, func(r *run) (failures, stop error) { return r.renew(ctx, look.Observation) })
}

// carryOut records and carries out a plan; change is what changes certificates.
func (n *Node) carryOut(ctx context.Context, trigger string, plan Plan, change func(*run) (failures, stop error)) (id string, err error) {
	recorder, err := n.State.record(n.Now, trigger, plan)
	if err != nil {
		return "", err
	}
	r := &run{Node: n, recorder: recorder, plan: plan, log: n.Log.With(zap.String("run_id", recorder.id))}
	defer r.delayShutdown(ctx)()
	defer r.mark(ctx)()
	began := n.Now()
	r.log.Info("run started", event(EventRunStarted), zap.String("trigger", trigger),
		zap.Strings("renew", names(plan.Renew)), zap.Strings("restart", components(plan.Restart)))
	if plan.certificates() || len(plan.Copies) == 0 {
		err = r.carry(ctx, change)
	}
	if ctx.Err() == nil && !r.owes && len(plan.Copies) > 0 {
		r.refreshCopies()
	}
	// The record is closed before the journal says how the run ended: whoever reads that
	// finds it in the history.
	var closing error
	if !r.owes { // or it stays open, and Recover tries again
		closing = r.end("run", "", "", err)
	}
	err = errors.Join(err, closing, recorder.close())
	n.ended(recorder)
	took := zap.Duration("took", n.Now().Sub(began))
	if err != nil {
		r.log.Error("run failed", event(EventRunFailed), took, zap.Error(err))
	} else {
		r.log.Info("run done", event(EventRunDone), took)
	}
	r.tellHook(ctx)
	return recorder.id, err
}

// carry is the run: change, try, restart, prove.
func (r *run) carry(ctx context.Context, change func(*run) (failures, stop error)) error {
	layout, _ := r.Locate()
	r.note(layout.Read(r.Now()))
	failures, err := change(r)
	if err == nil {
		var refused error
		refused, err = r.preflight(context.WithoutCancel(ctx))
		failures = errors.Join(failures, refused)
	}
	if err != nil {
		return errors.Join(failures, err)
	}
	if err := r.awaitOthers(ctx); err != nil {
		return errors.Join(failures, err)
	}
	// What is to be restarted follows from what is on disk now, by the same rule by
	// which any later look would find it. Being told to stop must not blind this look.
	o := r.observe(context.WithoutCancel(ctx), r.Now())
	if why := cmp.Or(o.problem(problemContainers), o.problem(problemKubelet)); why != "" {
		return errors.Join(failures, fmt.Errorf("nothing is restarted: the components cannot be seen: %s", why))
	}
	r.note(o.Certificates)
	o.Failures = r.State.failures()
	proofs := Prove(o)
	var restarts []string
	for _, name := range order(o.Others) {
		// What became stale only now, by somebody else's doing, is for the next look: its
		// gates were not asked for.
		reason := needed(o, proofs, name, r.Policy)
		switch {
		case r.plan.restarts(name) && (reason != "" || name == Kubelet && r.mended()):
		case slices.Contains(r.plan.Down, name) && reason != "":
			r.plan.Restart = append(r.plan.Restart, Restart{name, reason})
		default:
			continue
		}
		if err := usable(o, name); err != nil {
			failures = errors.Join(failures, err)
			continue
		}
		restarts = append(restarts, name)
	}
	if len(restarts) == 0 && len(r.renewed) == 0 {
		return failures
	}
	if ctx.Err() != nil && len(restarts) > 0 {
		return errors.Join(failures, fmt.Errorf("told to stop before the restarts: they follow at the next start: %w", context.Cause(ctx)))
	}
	ctx = context.WithoutCancel(ctx)
	r.replacing(o, restarts)
	fresh, restarts, err := r.startAfresh(ctx, o, restarts)
	if err == nil {
		err = r.restart(ctx, restarts)
	}
	if err != nil {
		return errors.Join(failures, err, r.recordReplaced(r.observe(ctx, r.Now()), false))
	}
	if err := r.revive(ctx); err != nil {
		return errors.Join(failures, err)
	}
	return errors.Join(failures, r.prove(ctx, append(fresh, restarts...)))
}

// renew renews each certificate of the plan on its own, so that one that fails
// does not stop the next. A failure leaves the certificate as it was, by putting it
// back if need be; stop is for what must end the run: files that could not be put
// back, or being told to stop.
func (r *run) renew(ctx context.Context, o Observation) (failures, stop error) {
	if len(r.plan.Renew) == 0 {
		return nil, nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("told to stop before anything was changed: %w", context.Cause(ctx))
	}
	layout, _ := r.Locate()
	if err := r.takeSnapshot(layout, o); err != nil {
		return nil, err
	}
	var failed []error
	for i, renewal := range r.plan.Renew {
		if ctx.Err() != nil {
			return errors.Join(failed...), fmt.Errorf("told to stop before %s was renewed: %w", renewal.Certificate, context.Cause(ctx))
		}
		after, err := r.renewOrRepair(ctx, layout, renewal, o)
		if err == nil {
			r.renewed = append(r.renewed, renewal.Certificate)
			if !renewal.Repair.keeps() { // or it is said to be restored
				r.log.Info("certificate renewed", event(EventRenewed), zap.String("certificate", renewal.Certificate),
					zap.Time("not_after", after.NotAfter), zap.String("serial", after.Serial), zap.String("path", after.Path))
			}
			continue
		}
		r.log.Error("certificate not renewed", event(EventRenewFailed), zap.String("certificate", renewal.Certificate), zap.Error(err))
		failed = append(failed, err)
		if !unchanged(r.snapshot, layout, renewal.Certificate) {
			if err := r.putBack(layout, renewal.Certificate, "what kubeadm wrote was refused", false); err != nil {
				return errors.Join(failed...), fmt.Errorf("nothing is restarted: %s is not as it was and must not be read by a component: %w", renewal.Path, err)
			}
		}
		var call *KubeadmError
		if errors.As(err, &call) && !call.Refused() {
			// Not there, hanging, killed: the next would fare no better.
			unreliable := errors.New("kubeadm cannot be relied on: no further certificate is renewed")
			for _, next := range r.plan.Renew[i+1:] {
				failed = append(failed, r.end("renew "+next.Certificate, "", "", unreliable))
			}
			failed = append(failed, unreliable)
			break
		}
	}
	return errors.Join(failed...), nil
}

// takeSnapshot copies everything that the renewals may change.
func (r *run) takeSnapshot(layout pki.Layout, o Observation) error {
	if err := r.begin("snapshot", ""); err != nil {
		return fmt.Errorf("%w: nothing was changed", err)
	}
	id := r.id
	if r.snapshot.ID != "" {
		id = newID(r.Now()) // it is the second of this run
	}
	snap, err := r.State.snapshot(id, r.Now(), layout, o.Certificates)
	if err != nil {
		return errors.Join(err, r.end("snapshot", "", "", err))
	}
	r.snapshot = snap
	if err := r.write(Entry{Step: "snapshot", Event: "end", Snapshot: snap.ID}); err != nil {
		return fmt.Errorf("%w: nothing was changed", err)
	}
	r.State.pruneSnapshots(r.Retention, r.Now())
	return nil
}

// renewOne renews one certificate and says what is on disk afterwards.
func (r *run) renewOne(ctx context.Context, layout pki.Layout, renewal Renewal, before pki.Certificate) (pki.Certificate, error) {
	r.alive()
	step := "renew " + renewal.Certificate
	configuration, err := r.configuration()
	if err != nil {
		return before, err
	}
	ca, _ := Observation{Certificates: layout.Read(r.Now())}.Certificate(before.CA)
	if configuration, err = r.cappedBy(configuration, ca); err != nil {
		return before, err
	}
	if err := r.begin(step, renewal.Reason); err != nil {
		return before, fmt.Errorf("%s: %w", step, err)
	}
	output, err := r.Kubeadm.Renew(ctx, renewal.Certificate, configuration.Path)
	r.alive()
	if err == nil {
		err = r.check(layout, before)
	}
	after, _ := Observation{Certificates: layout.Read(r.Now())}.Certificate(renewal.Certificate)
	return after, errors.Join(err, r.end(step, after.Reason, output, err))
}

// putBack makes a certificate what it was before the run. Until that is on disk the
// record says that it is under way, so that it is done again after a crash.
func (r *run) putBack(layout pki.Layout, certificate, why string, loaded bool) error {
	r.note(layout.Read(r.Now())) // a component may have read what is taken away
	step := "put back " + certificate
	if err := r.begin(step, why); err != nil {
		r.log.Error("the run's record could not be written; the certificate is put back all the same", zap.Error(err))
	}
	err := r.snapshot.putBack(layout, certificate, loaded)
	if err != nil {
		r.owes = r.owes || !errors.Is(err, errNoCopy) // without a copy it is for a person
		err = fmt.Errorf("%s could not be put back from snapshot %s: %w", certificate, r.snapshot.ID, err)
		log := r.log.Error
		if r.again {
			log = r.log.Debug // the journal has it from the first time
		}
		log("certificate could not be put back", event(EventPutBackFailed), zap.String("certificate", certificate), zap.Error(err))
	} else {
		r.log.Warn("certificate put back as it was", event(EventPutBack), zap.String("certificate", certificate),
			zap.String("snapshot", r.snapshot.ID), zap.String("reason", why))
	}
	return errors.Join(err, r.end(step, r.snapshot.ID, "", err))
}

// usable refuses the restart of a component that would read a certificate that
// cannot be used. The kubelet's serving certificate does not count: it signs its own,
// never renews it, and works with an expired one as before (kubelet:
// cmd/kubelet/app/server.go).
func usable(o Observation, component string) error {
	var bad []error
	for _, h := range o.holdings() {
		c, here := o.Certificate(h.Certificate)
		if h.Component != component || h.Peer || !here || h.Certificate == "kubelet-server" {
			continue
		}
		if h.Mount != nil && !h.Mount.Named && h.Mount.HostPath != c.Path && h.Mount.HostPath != c.KeyPath {
			continue // it mounts a directory, and may never read this file
		}
		if c.State == pki.Invalid || c.State == pki.Expired || (c.State == pki.Missing && !c.Optional) {
			bad = append(bad, fmt.Errorf("%s is not restarted: %s is %s: %s", component, c.Path, c.State, c.Reason))
		}
	}
	return errors.Join(bad...)
}
