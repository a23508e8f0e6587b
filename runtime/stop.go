package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// stopMargin is what a stop may take beyond its grace: the runtime must still kill
// the process, clean up after it and answer. A request whose deadline ends before
// the grace would leave the process with SIGTERM and never send SIGKILL
// (containerd: internal/cri/server/container_stop.go).
const stopMargin = 30 * time.Second

// Stopped says how a container left.
type Stopped struct {
	// Took is the time from the request until the runtime said that it was over; 0
	// when the container had exited before.
	Took time.Duration
	// ExitCode is 137 for a process that was killed because the grace ran out, and
	// UnknownExit when the runtime has already forgotten the container.
	ExitCode int32
}

// UnknownExit stands for the exit code of a container whose record is gone.
const UnknownExit = -1

// AlreadyAskedError says that this client has asked a container to stop before.
type AlreadyAskedError struct {
	Container Container
	Ago       time.Duration
}

func (e *AlreadyAskedError) Error() string {
	return fmt.Sprintf("%s was asked to stop %s ago and is not asked twice", e.Container, e.Ago.Round(time.Second))
}

// stop is one request to stop a container.
type stop struct {
	at    time.Time
	until time.Time // by when it must be decided
	done  bool
}

// Stop asks the runtime to stop a container: SIGTERM, and SIGKILL after the grace,
// which CRI counts in whole seconds (rounded up); 0 kills at once. Where the runtime is
// containerd, parts of a second count. It returns when the runtime says that it is over,
// at the latest 30 s after the grace.
//
// No container is asked twice: a second call for the same id returns an
// *AlreadyAskedError. The one exception is a request that failed, whose grace and
// margin are over, and whose container still runs: it cannot have been taken up,
// and a component that could never be stopped again would stay stale for ever. A
// container that has exited by itself is not asked at all.
//
// A context that ends before the grace leaves the process with SIGTERM alone. Give
// it none that does.
func (c *Client) Stop(ctx context.Context, container Container, grace time.Duration) (Stopped, error) {
	ctx, cancel := context.WithTimeout(ctx, grace+stopMargin)
	defer cancel()

	// A runtime that cannot answer this has not been asked to stop anything.
	current := container
	if _, err := c.status(ctx, &current, false); status.Code(err) == codes.NotFound {
		return Stopped{ExitCode: UnknownExit}, nil
	} else if err != nil {
		return Stopped{}, fmt.Errorf("%s was not stopped: %w", container, err)
	}
	if !current.Running && !current.Finished.IsZero() {
		return Stopped{ExitCode: current.ExitCode}, nil
	}
	request, err := c.claim(container, grace)
	if err != nil {
		return Stopped{}, err
	}
	seconds := int64((grace + time.Second - 1) / time.Second)
	if grace%time.Second != 0 {
		defer c.killAfter(ctx, container, grace)()
	}
	_, err = c.cri.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: container.ID, Timeout: seconds})
	took := time.Since(request.at)
	if err != nil && status.Code(err) != codes.NotFound {
		return Stopped{}, c.endpoint.explain("stop "+container.String(), took, err)
	}
	code, err := c.exited(ctx, container)
	if err != nil {
		return Stopped{}, err
	}
	c.mu.Lock()
	request.done = true
	c.mu.Unlock()
	return Stopped{Took: took, ExitCode: code}, nil
}

// killAfter sends SIGKILL when the grace is over, where containerd itself can be asked to:
// the runtime would wait for the second to be full. What it returns ends the wait.
func (c *Client) killAfter(ctx context.Context, container Container, grace time.Duration) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ctx.Done():
			return
		case <-time.After(grace):
		}
		native, err := c.containerd(ctx)
		if err != nil || native == nil {
			return // the runtime kills it a little later
		}
		ctx, cancel := context.WithTimeout(inNamespace(ctx), callTimeout)
		defer cancel()
		// One that has just left is not found, which is as well.
		_, _ = native.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: container.ID, Signal: uint32(unix.SIGKILL), All: true})
	}()
	return func() { cancel(); <-done }
}

// claim remembers that a container is asked to stop, or refuses.
func (c *Client) claim(container Container, grace time.Duration) (*stop, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if before := c.stopped[container.ID]; before != nil && (before.done || now.Before(before.until)) {
		return nil, &AlreadyAskedError{Container: container, Ago: now.Sub(before.at)}
	}
	request := &stop{at: now, until: now.Add(grace + stopMargin)}
	c.stopped[container.ID] = request
	return request, nil
}

// exited waits until the runtime shows the container as exited. containerd does so
// before it answers; the interface does not promise it.
func (c *Client) exited(ctx context.Context, container Container) (int32, error) {
	for {
		_, err := c.status(ctx, &container, false)
		switch {
		case status.Code(err) == codes.NotFound:
			return UnknownExit, nil
		case err != nil && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded):
			return 0, err
		case err == nil && !container.Running:
			return container.ExitCode, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%s still runs although the runtime said that it was stopped: look at `crictl ps -a`", container)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
