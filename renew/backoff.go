package renew

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// kubeletMemory is how long the kubelet remembers that it has started a container again.
// One that leaves within that time waits for 10 to 15 s before it is started, then for
// twice as long each time, up to five minutes. It remembers only as long as its process
// lives (kubelet: kuberuntime/kuberuntime_manager.go, doBackOff; kubelet.go,
// HasExpiredFunc).
const kubeletMemory = 10 * time.Minute

// remembered says which of these components the kubelet would let wait, and why; empty
// when none. It is for the plan to say and for a run to act on: the kubelet is restarted
// before them, which takes a second and stops no container, and then it has forgotten.
// That needs an API server that answers.
func remembered(o Observation, restarts []string) string {
	kubelet, here := o.Component(Kubelet)
	if !here || kubelet.Started.IsZero() {
		return ""
	}
	var list []string
	for _, name := range Order {
		c, _ := o.Component(name)
		ago := o.At.Sub(c.Started)
		if name != Kubelet && slices.Contains(restarts, name) && c.Restarts > 0 && ago >= 0 && ago < kubeletMemory && kubelet.Started.Before(c.Started) {
			list = append(list, fmt.Sprintf("%s was started again %s ago", name, pki.Span(ago)))
		}
	}
	if len(list) == 0 {
		return ""
	}
	return strings.Join(list, ", ") + fmt.Sprintf("; the kubelet remembers that for %s and would wait 10s and more, unless it is restarted before", pki.Span(kubeletMemory))
}

// makeForget restarts a kubelet that would let what is about to be stopped wait. Where it
// must not be restarted, or could not start again, the wait is what is left.
func (r *run) makeForget(ctx context.Context, restarts []string) error {
	why := remembered(r.Observe(ctx, r.Now()), restarts)
	if why == "" {
		return nil
	}
	err := r.mayForget(ctx)
	if err != nil {
		r.log.Warn("the kubelet will wait before it starts a component again", zap.String("reason", why), zap.NamedError("not_restarted", err))
		return nil
	}
	if err := r.begin(stepForget, why); err != nil {
		return fmt.Errorf("nothing is stopped: %w", err)
	}
	if err = r.renewKubelet(ctx, why); err != nil {
		err = fmt.Errorf("nothing else is stopped: %w", err)
	}
	return errors.Join(err, r.end(stepForget, "", "", err))
}

// stepForget is the restart of a kubelet for its memory alone.
const stepForget = "make the kubelet forget"
