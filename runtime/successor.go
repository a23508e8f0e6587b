package runtime

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// pollAlone is how often the runtime is asked where it tells no events.
	pollAlone = 100 * time.Millisecond
	// pollBeside is how often it is asked although it does: an event may get lost.
	pollBeside = 500 * time.Millisecond
	// pollSoon follows an event for a moment: containerd tells of a started process
	// a few milliseconds before CRI shows its container as running.
	pollSoon = 10 * time.Millisecond
	soon     = 500 * time.Millisecond
)

// AwaitSuccessor waits until another, later container of the same pod and name runs,
// in the old sandbox or in a new one, and returns it. old may still run when it is called. progress, which may be nil,
// is told at each look what is waited for.
//
// It waits until the context ends; the error then tells what was seen instead, such
// as containers that started and exited. A runtime that does not answer meanwhile is
// asked again.
func (c *Client) AwaitSuccessor(ctx context.Context, old Container, progress func(string)) (Container, error) {
	began := time.Now()
	events := c.watch(ctx)
	defer events.close()

	var seen string       // the last look that was not cut off by the end of the wait
	var hurried time.Time // until when an event makes the next look come soon
	for {
		found, now, err := c.successor(ctx, old)
		if err == nil && found != nil {
			return *found, nil
		}
		if err != nil {
			now = err.Error()
		}
		if ctx.Err() == nil || seen == "" {
			seen = now
		}
		if progress != nil {
			progress(seen)
		}
		wait := pollAlone
		if events.flowing() {
			wait = pollBeside
		}
		if time.Now().Before(hurried) {
			wait = pollSoon
		}
		select {
		case <-ctx.Done():
			return Container{}, fmt.Errorf("no successor of %s within %s: %s: %w",
				old, time.Since(began).Round(100*time.Millisecond), seen, ctx.Err())
		case <-events.wake:
			hurried = time.Now().Add(soon)
		case <-time.After(wait):
		}
	}
}

// successor looks once. When it finds none, the text says what there is instead.
func (c *Client) successor(ctx context.Context, old Container) (*Container, string, error) {
	containers, err := c.list(ctx, map[string]string{
		labelNamespace: old.Namespace, labelPod: old.Pod, labelContainer: old.Component})
	if err != nil {
		return nil, "", err
	}
	later := newest(containers, func(x Container) bool {
		if x.ID == old.ID {
			return false
		}
		// A pod's sandboxes do not run beside each other, so that what runs in another
		// one is later, whatever the clock was set to meanwhile.
		elsewhere := x.PodUID == old.PodUID && x.Sandbox != old.Sandbox && old.Sandbox != ""
		return elsewhere && x.Running || follows(x, old)
	})
	if len(later) == 0 {
		for _, x := range containers {
			if x.ID == old.ID && x.Running {
				return nil, "the old container still runs", nil
			}
		}
		return nil, "the kubelet has not yet made a new container", nil
	}
	x, err := c.describe(ctx, later[0])
	switch {
	case status.Code(err) == codes.NotFound:
		return nil, "a new container was removed again", nil
	case err != nil:
		return nil, "", err
	case x.Running:
		return &x, "", nil
	case x.Finished.IsZero():
		return nil, fmt.Sprintf("attempt %d is created and not yet started", x.Attempt), nil
	}
	text := fmt.Sprintf("attempt %d exited with %d", x.Attempt, x.ExitCode)
	if x.Reason != "" {
		text += " (" + x.Reason + ")"
	}
	// Nothing in CRI tells of it, but the kubelet waits 10 s, 20 s and more before
	// the second restart within ten minutes (kubelet: kuberuntime_manager.go,
	// doBackOff).
	return nil, text + "; the kubelet waits longer before each further start", nil
}
