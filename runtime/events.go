package runtime

import (
	"context"
	"sync/atomic"
	"time"

	events "github.com/containerd/containerd/api/services/events/v1"
)

// events of containerd that a wait for a container is interested in. CRI's own
// GetContainerEvents is not used: containerd 1.7 gives each event to one reader
// only, and the kubelet may be that reader (containerd issue 7318).
var eventFilters = []string{
	`namespace=="` + containerdNamespace + `",topic=="/tasks/start"`,
	`namespace=="` + containerdNamespace + `",topic=="/tasks/exit"`,
}

// resubscribe is how long a lost stream of events is left alone.
const resubscribe = time.Second

// watch is a subscription to the runtime's events. It only ever makes a look come
// earlier.
type watch struct {
	wake   chan struct{} // holds one: that something happened, not what
	open   atomic.Bool
	cancel context.CancelFunc
	done   chan struct{}
}

// watch subscribes to events, in the background, because a runtime that hangs would
// not even accept the subscription. The caller closes it.
func (c *Client) watch(ctx context.Context) *watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{wake: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for {
			_ = c.subscribe(ctx, w) // the poll goes on meanwhile
			select {
			case <-ctx.Done():
				return
			case <-time.After(resubscribe):
			}
		}
	}()
	return w
}

// subscribe passes events on until the stream ends, and says why it did.
func (c *Client) subscribe(ctx context.Context, w *watch) error {
	native, err := c.containerd(ctx)
	if err != nil {
		return err
	}
	if native == nil {
		<-ctx.Done() // another runtime, which will not become containerd
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(inNamespace(ctx))
	defer cancel()
	stream, err := native.events.Subscribe(ctx, &events.SubscribeRequest{Filters: eventFilters})
	if err != nil {
		return err
	}
	w.open.Store(true)
	defer w.open.Store(false)
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// flowing says whether events can be expected.
func (w *watch) flowing() bool { return w.open.Load() }

// close ends the subscription and waits for it.
func (w *watch) close() {
	w.cancel()
	<-w.done
}
