package renew

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// heartbeats are what the API server has heard of the kubelets.
type heartbeats interface {
	// Last is when the kubelet of a node has last said that it is there, by its own clock.
	Last(ctx context.Context, node string) (time.Time, error)
}

// unheard says that the API server answers, and has not heard of a kubelet since it was
// started with a client certificate of this run. Where it cannot be asked that is said,
// and no failure: it may be down for another reason, of which the next run may be the cure.
func (r *run) unheard(ctx context.Context, o Observation) []string {
	if !r.mended() || r.Heartbeats == nil {
		return nil
	}
	kubelet, _ := o.Component(Kubelet)
	last, err := r.Heartbeats.Last(ctx, o.node())
	switch {
	case err != nil:
		r.log.Warn("whether the API server hears of the kubelet is not known", event(EventHeartbeat), zap.Error(err))
	case !last.After(kubelet.Started):
		return []string{fmt.Sprintf("the API server has not heard of node %s since its kubelet was started %s ago", o.node(), o.At.Sub(kubelet.Started).Round(time.Second))}
	default:
		r.log.Info("the API server hears of the kubelet", event(EventHeartbeat), zap.String("node", o.node()), zap.Time("last", last))
	}
	return nil
}
