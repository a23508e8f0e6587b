package renew

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// restart restarts the components in order, each healthy before the next. It stops
// at the first that does not come back.
//
// On a node without peers there is no quorum to protect, and a healthy etcd between
// the two only makes the outage longer: they go down together.
func (r *run) restart(ctx context.Context, restarts []string) error {
	if err := r.makeForget(ctx, restarts); err != nil {
		return err
	}
	together := r.plan.Alone && slices.Contains(restarts, Etcd) && slices.Contains(restarts, APIServer)
	if together {
		if err := r.restartPods(ctx, Etcd, APIServer); err != nil {
			return err
		}
	}
	for _, name := range restarts {
		var err error
		switch {
		case together && (name == Etcd || name == APIServer):
			continue
		case name == Kubelet && r.replaces(kubeletServer):
			err = r.remakeKubeletServer(ctx)
		case name == Kubelet && r.mended():
			err = r.restartMended(ctx)
		case name == Kubelet:
			err = r.restartKubelet(ctx)
		default:
			err = r.restartPods(ctx, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// restartPods stops the containers of static pods, and waits until each has a
// successor that is healthy, in the order given.
//
// They are stopped in the opposite order: kube-apiserver before the etcd that its
// last requests need. An etcd with a connected client besides takes seven seconds to
// leave (etcd: server/embed/etcd.go, stopServers), and none without.
func (r *run) restartPods(ctx context.Context, names ...string) error {
	// What was healthy when the run began may not be now, and nobody else brings a
	// container back.
	if err := r.kubeletReady(ctx); err != nil {
		return fmt.Errorf("%s not stopped: %w", names[0], err)
	}
	if err := r.confirmTurn(ctx); err != nil {
		return err
	}
	// They were healthy when the run began.
	if err := r.othersHealthy(ctx, names); err != nil {
		return err
	}
	old, err := r.current(ctx, names)
	if err != nil {
		return err
	}
	for _, c := range old {
		if err := r.begin("restart "+c.Name, r.reason(c.Name)); err != nil {
			return fmt.Errorf("%s not stopped: %w", c.Name, err)
		}
	}
	stopped, failure := r.stopAll(ctx, old)
	for _, c := range old {
		err := failure
		if slices.Contains(stopped, c) {
			// What was stopped is brought back whatever became of the others.
			if err = r.bringBack(ctx, c); err == nil && failure != nil {
				err = fmt.Errorf("%s came back, but %w", c.Name, failure)
			}
		}
		if recording := r.end("restart "+c.Name, "", "", err); recording != nil {
			r.log.Error("the run's record could not be written; the restarts go on", zap.Error(recording))
		}
		if err != nil && failure == nil {
			failure = err
		}
	}
	return failure
}

// ByItself is what came of the restart of a component that has restarted by itself.
const ByItself = "by itself"

// current lists the named components again and leaves out those that meanwhile
// restarted by themselves: controller-manager and scheduler leave when they lose
// the API server for ten seconds, and a second stop would cost a back-off.
func (r *run) current(ctx context.Context, names []string) ([]Component, error) {
	o := r.observe(ctx, r.Now())
	proofs := Prove(o)
	if why := o.problem(problemContainers); why != "" {
		return nil, fmt.Errorf("%s not stopped: %s", names[0], why)
	}
	var old []Component
	for _, name := range names {
		c, _ := o.Component(name)
		if needed(o, proofs, name, r.Policy) == "" || !c.Running {
			// Either way it reads what is on disk now; the next waits until it is healthy.
			r.log.Info("component restarts by itself", zap.String("component", name), zap.String("detail", c.Detail))
			err := r.awaitHealthy(ctx, name)
			if err = errors.Join(err, r.end("restart "+name, ByItself, "", err)); err != nil {
				return nil, err
			}
			continue
		}
		old = append(old, c)
	}
	return old, nil
}

// stopAll stops the containers, the last first, and says which were. After one that
// could not be stopped, what is still up stays up.
func (r *run) stopAll(ctx context.Context, old []Component) (stopped []Component, err error) {
	for _, c := range slices.Backward(old) {
		if err := r.stop(ctx, c); err != nil {
			return stopped, err
		}
		stopped = append(stopped, c)
	}
	return stopped, nil
}

// bringBack waits until the kubelet has started a stopped component again and it is
// healthy, and helps it if it is not in time.
func (r *run) bringBack(ctx context.Context, old Component) error {
	_, err := r.awaitSuccessor(ctx, old)
	if err == nil {
		err = r.awaitHealthy(ctx, old.Name)
	}
	if err == nil {
		return nil
	}
	return r.rescue(ctx, old, err)
}

const (
	// stopBudget is how long a runtime may refuse to stop a container. It is never asked
	// twice for one that it was asked to stop (runtime.Client.Stop).
	stopBudget = 10 * time.Second
	stopAgain  = 250 * time.Millisecond
)

// stop stops one container.
func (r *run) stop(ctx context.Context, c Component) error {
	r.alive()
	grace := r.grace(c.Name)
	if (r.plan.Alone || r.plan.Afresh != "") && c.Name == APIServer {
		grace = r.Restarts.GraceAlone
	}
	log := r.log.With(zap.String("component", c.Name))
	release := r.lease(ctx, c.Name)
	log.Info("stopping component", event(EventRestarting), zap.String("container_id", c.ID),
		zap.Duration("grace", grace), zap.String("reason", r.reason(c.Name)))
	stopped, err := r.Containers.Stop(ctx, c, grace)
	for end := r.Now().Add(stopBudget); err != nil && r.Now().Before(end); {
		// A runtime that is being restarted is back in a second; a run that ends here
		// leaves a component that is stale.
		r.alive()
		select {
		case <-ctx.Done():
			return fmt.Errorf("stop %s: %w: %w", c.Name, ctx.Err(), err)
		case <-time.After(stopAgain):
		}
		stopped, err = r.Containers.Stop(ctx, c, grace)
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", c.Name, err)
	}
	log.Info("component stopped", zap.Duration("took", stopped.Took), zap.Bool("killed", stopped.Killed))
	release(ctx)
	return nil
}

// grace is how long a component has between SIGTERM and SIGKILL.
func (r *run) grace(component string) time.Duration {
	if foreign(component) {
		return foreignGrace
	}
	return r.Restarts.Grace[component]
}

// lease is what gives up a component's leadership once it is stopped. That it cannot be
// given up costs 15 seconds without a leader, and is no reason not to restart.
func (r *run) lease(ctx context.Context, component string) (release func(context.Context)) {
	nothing := func(context.Context) {}
	if r.Leases == nil || r.plan.Afresh != "" || (component != ControllerManager && component != Scheduler) {
		return nothing
	}
	held, err := r.Leases.Hold(ctx, component)
	if err != nil {
		r.log.Debug("whether the component leads is not known", zap.String("component", component), zap.Error(err))
	}
	if held == nil {
		return nothing
	}
	return func(ctx context.Context) {
		switch released, err := held(ctx); {
		case err != nil:
			r.log.Warn("the leader lease of a stopped component could not be released; it runs out by itself", zap.String("component", component), zap.Error(err))
		case released:
			r.log.Info("leader lease released", event(EventLeaseReleased), zap.String("component", component))
		}
	}
}

// awaitSuccessor waits until the kubelet has started another container in the place
// of one that was stopped.
func (r *run) awaitSuccessor(ctx context.Context, old Component) (Component, error) {
	r.alive()
	ctx, cancel := context.WithTimeout(ctx, r.Restarts.Back)
	defer cancel()
	successor, err := r.Containers.AwaitSuccessor(ctx, old, r.progress(old.Name))
	if err != nil {
		return successor, fmt.Errorf("%s was stopped and did not come back: %w: look at `crictl ps -a` and `journalctl -u kubelet`", old.Name, err)
	}
	r.log.Info("component started again", zap.String("component", old.Name), zap.String("container_id", successor.ID))
	return successor, nil
}

// awaitHealthy waits until a component is healthy, or keeps crashing.
func (r *run) awaitHealthy(ctx context.Context, name string) error {
	if foreign(name) {
		return r.awaitSteady(ctx, name)
	}
	ctx, cancel := context.WithTimeout(ctx, r.Restarts.Healthy)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	began, crashed, say := r.Now(), crashes{seen: map[string]bool{}, looked: r.Now()}, r.progress(name)
	err := r.Health.Await(ctx, name, func(waiting string) {
		say(waiting)
		if err := crashed.again(ctx, r, name); err != nil {
			giveUp(err)
		}
	})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) && !errors.Is(cause, context.Canceled) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return fmt.Errorf("%s was started again and is not healthy: %w: look at `crictl logs` of its container", name, err)
	}
	r.log.Info("component restarted", event(EventRestarted), zap.String("component", name), zap.Duration("healthy_after", r.Now().Sub(began)))
	return nil
}

// kubeletReady says why the kubelet could not be relied on to bring a container
// back.
func (r *run) kubeletReady(ctx context.Context) error {
	unit, err := r.Kubelet.State(ctx)
	if err != nil {
		return err
	}
	if !unit.Running {
		return fmt.Errorf("the kubelet is not active: %s", unit.Detail)
	}
	return r.Kubelet.Healthy(ctx)
}

// restartKubelet is the kubelet's place in the plan.
func (r *run) restartKubelet(ctx context.Context) (err error) {
	if err := r.kubeletCanStart(); err != nil {
		return err
	}
	if err := r.confirmTurn(ctx); err != nil {
		return err
	}
	if err := r.begin("restart "+Kubelet, r.reason(Kubelet)); err != nil {
		return fmt.Errorf("kubelet not restarted: %w", err)
	}
	defer func() {
		if err != nil {
			r.log.Error("kubelet did not come back", event(EventRestartFailed), zap.String("component", Kubelet), zap.Error(err))
		}
		err = errors.Join(err, r.end("restart "+Kubelet, "", "", err))
	}()
	return r.renewKubelet(ctx, r.reason(Kubelet))
}

// renewKubelet restarts the kubelet's unit and waits until it is healthy.
func (r *run) renewKubelet(ctx context.Context, why string) error {
	r.log.Info("restarting kubelet", event(EventRestarting), zap.String("component", Kubelet), zap.String("reason", why))
	ctx, cancel := context.WithTimeout(ctx, r.Restarts.Kubelet)
	defer cancel()
	began := r.Now()
	if err := r.Kubelet.Restart(ctx); err != nil {
		return fmt.Errorf("restart kubelet: %w", err)
	}
	if err := r.awaitKubelet(ctx); err != nil {
		return err
	}
	r.log.Info("component restarted", event(EventRestarted), zap.String("component", Kubelet), zap.Duration("healthy_after", r.Now().Sub(began)))
	return nil
}

// kubeletCanStart says why the kubelet could not start again. One that could not is
// never stopped.
func (r *run) kubeletCanStart() error {
	layout, _ := r.Locate()
	own, _ := Observation{Certificates: layout.Read(r.Now())}.Certificate("kubelet-client")
	if own.State != pki.OK && own.State != pki.External {
		return fmt.Errorf("kubelet not restarted: its client certificate is %s: %s", own.State, own.Reason)
	}
	return nil
}

// awaitKubelet waits until the kubelet is healthy.
func (r *run) awaitKubelet(ctx context.Context) error {
	for {
		r.alive()
		err := r.kubeletReady(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the kubelet was restarted and is not healthy after %s: %w: look at `journalctl -u kubelet`", r.Restarts.Kubelet, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// progress tells the watchdog that a wait goes on, and every few seconds the
// journal what is waited for.
func (r *run) progress(component string) func(string) {
	said := r.Now()
	return func(waiting string) {
		r.alive()
		if now := r.Now(); now.Sub(said) >= sayEvery {
			said = now
			r.log.Info("waiting", zap.String("component", component), zap.String("for", waiting))
		}
	}
}

// sayEvery is how often a wait is logged. Most end before the first time.
const sayEvery = 3 * time.Second

// reason is why the plan restarts a component.
func (r *run) reason(component string) string {
	for _, restart := range r.plan.Restart {
		if restart.Component == component {
			return restart.Reason
		}
	}
	return "holds a certificate that was written after it started"
}
