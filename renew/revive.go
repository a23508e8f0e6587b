package renew

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"
)

// revive waits for the components that have left because of what this run has made usable
// again. The kubelet starts them by itself, after up to five minutes: restarted, it has
// forgotten for how long it meant to wait, and starts them at once.
func (r *run) revive(ctx context.Context) error {
	down := r.left(r.observe(ctx, r.Now()))
	if len(down) == 0 {
		return nil
	}
	why := fmt.Sprintf("%s left because of what could not be used, and the kubelet would wait up to 5m before it starts it again", strings.Join(down, ", "))
	if err := r.mayForget(ctx); err != nil {
		r.log.Warn("the kubelet will wait before it starts a component again", zap.String("reason", why), zap.NamedError("not_restarted", err))
	} else {
		if err := r.begin(stepForget, why); err != nil {
			return err
		}
		err := r.renewKubelet(ctx, why)
		if err = errors.Join(err, r.end(stepForget, "", "", err)); err != nil {
			return err
		}
	}
	for _, name := range down {
		step := "restart " + name
		if err := r.begin(step, "it left because of what could not be used"); err != nil {
			return err
		}
		err := r.awaitHealthy(ctx, name)
		if err = errors.Join(err, r.end(step, "by the kubelet", "", err)); err != nil {
			return err
		}
	}
	return nil
}

// left are the components of this node that hold what this run has renewed or repaired
// and do not run.
func (r *run) left(o Observation) []string {
	var list []string
	for _, name := range Order {
		c, here := o.Component(name)
		if !here || c.Running || name == Kubelet || usable(o, name) != nil {
			continue
		}
		for _, certificate := range r.renewed {
			if o.holds(name, certificate) {
				list = append(list, name)
				break
			}
		}
	}
	return list
}

// mayForget says why the kubelet is not restarted for its memory alone.
func (r *run) mayForget(ctx context.Context) error {
	if r.Policy.Restart.For(Kubelet) == RestartNever {
		return errors.New("restart.override.kubelet is never")
	}
	if err := r.kubeletCanStart(); err != nil {
		return err
	}
	if api, here := r.find(ctx, APIServer); here && !api.Running {
		return nil // what refuses a connection holds nobody up
	}
	// A kubelet that has just started asks the API server for the mirror of each static
	// pod before it does anything else with it. One that takes the question and does not
	// answer, because its etcd is gone, holds it for 34 s at a time (kubelet:
	// kubelet.go, tryReconcileMirrorPods).
	return r.healthyNow(ctx, APIServer)
}
