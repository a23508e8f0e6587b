package runtime

import (
	"context"
	"errors"
	"time"
)

// Container is one container of a static pod, as the runtime describes it.
type Container struct {
	// ID is the runtime's id, Component the container's name in its pod, which
	// for kubeadm's static pods is the component's name.
	ID, Component string
	// Pod, Namespace and PodUID identify the pod; Sandbox is its sandbox's id.
	Pod, Namespace, PodUID, Sandbox string
	// Attempt counts the containers of this name in this pod, from 0.
	Attempt uint32
	Running bool
	// Created, Started and Finished are what the runtime says; zero when it did not
	// happen yet.
	Created, Started, Finished time.Time
	// ExitCode and Reason are of a container that has exited.
	ExitCode int32
	Reason   string
	// PID is the container's first process in the host's process namespace; 0 when
	// unknown or not running.
	PID int
	// ProcessStarted is when that process started, from the kernel; zero when
	// unknown.
	ProcessStarted time.Time
}

// Stopped says how a container left.
type Stopped struct {
	// Took is the time from the request until the runtime said that it was over.
	Took time.Duration
	// ExitCode is 137 for a process that was killed because the grace ran out.
	ExitCode int32
}

// Client talks to one container runtime. It may be used by several goroutines.
type Client struct{}

var errSkeleton = errors.New("not there yet")

// Dial makes a client. Nothing is connected before the first call.
func Dial(endpoint string) (*Client, error) { return nil, errSkeleton }

// Close ends every connection.
func (c *Client) Close() error { return nil }

// Version returns the name and the version of the runtime.
func (c *Client) Version(ctx context.Context) (name, version string, err error) {
	return "", "", errSkeleton
}

// StaticPods returns the newest container of every static pod.
func (c *Client) StaticPods(ctx context.Context) ([]Container, error) { return nil, errSkeleton }

// Stop stops a container.
func (c *Client) Stop(ctx context.Context, container Container, grace time.Duration) (Stopped, error) {
	return Stopped{}, errSkeleton
}

// AwaitSuccessor waits for the container that follows old.
func (c *Client) AwaitSuccessor(ctx context.Context, old Container, progress func(string)) (Container, error) {
	return Container{}, errSkeleton
}

// Locate finds the endpoint of the container runtime.
func Locate(root string) (endpoint, source string, err error) { return "", "", errSkeleton }

// ProcessStart returns when a process started.
func ProcessStart(pid int) (time.Time, error) { return time.Time{}, errSkeleton }
