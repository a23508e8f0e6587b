package main

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/runtime"
)

// staticPods are the containers of the node's static pods. The client is made when
// it is first needed, and anew when the runtime's address has changed.
type staticPods struct {
	root, endpoint string
	log            *zap.Logger

	mu     sync.Mutex
	client *runtime.Client
	dialed string
	seen   map[string]runtime.Container // by id, as List saw them
}

func (p *staticPods) dial() (*runtime.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	endpoint, source := p.endpoint, "runtime.endpoint"
	if endpoint == "" {
		var err error
		if endpoint, source, err = runtime.Locate(p.root); err != nil {
			return nil, err
		}
	}
	if p.client != nil && p.dialed == endpoint {
		return p.client, nil
	}
	if p.client != nil {
		_ = p.client.Close()
		p.client = nil
	}
	client, err := runtime.Dial(endpoint)
	if err != nil {
		return nil, err
	}
	p.log.Debug("container runtime", zap.String("endpoint", endpoint), zap.String("source", source))
	p.client, p.dialed = client, endpoint
	return client, nil
}

func (p *staticPods) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client != nil {
		_ = p.client.Close()
		p.client = nil
	}
}

func (p *staticPods) List(ctx context.Context) ([]renew.Component, error) {
	client, err := p.dial()
	if err != nil {
		return nil, err
	}
	containers, err := client.StaticPods(ctx)
	if err != nil {
		return nil, err
	}
	seen := map[string]runtime.Container{}
	components := make([]renew.Component, 0, len(containers))
	for _, c := range containers {
		seen[c.ID] = c
		components = append(components, component(c))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// One that was stopped is asked for its successor when it is no longer listed.
	if len(p.seen) < manySeen {
		maps.Copy(seen, p.seen)
	}
	p.seen = seen
	return components, nil
}

// manySeen is when the containers of long ago are forgotten.
const manySeen = 100

func (p *staticPods) Stop(ctx context.Context, c renew.Component, grace time.Duration) (renew.Stopped, error) {
	client, container, err := p.container(c)
	if err != nil {
		return renew.Stopped{}, err
	}
	stopped, err := client.Stop(ctx, container, grace)
	return renew.Stopped{Took: stopped.Took, Killed: stopped.ExitCode == 137}, err
}

func (p *staticPods) AwaitSuccessor(ctx context.Context, old renew.Component, progress func(string)) (renew.Component, error) {
	client, container, err := p.container(old)
	if err != nil {
		return renew.Component{}, err
	}
	successor, err := client.AwaitSuccessor(ctx, container, progress)
	return component(successor), err
}

func (p *staticPods) StopPod(ctx context.Context, c renew.Component) error {
	client, container, err := p.container(c)
	if err != nil {
		return err
	}
	return client.StopSandbox(ctx, container)
}

// lastWords is how much of a log is read when a component does not start: its last
// start and a few before.
const lastWords = 64 << 10

func (p *staticPods) Said(ctx context.Context, c renew.Component) (string, error) {
	client, container, err := p.container(c)
	if err != nil {
		return "", err
	}
	return client.Said(ctx, container, lastWords)
}

func (p *staticPods) container(c renew.Component) (*runtime.Client, runtime.Container, error) {
	client, err := p.dial()
	if err != nil {
		return nil, runtime.Container{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	container, ok := p.seen[c.ID]
	if !ok {
		return nil, container, fmt.Errorf("container %s of %s is not among those last listed", c.ID, c.Name)
	}
	return client, container, nil
}

func component(c runtime.Container) renew.Component {
	started := c.ProcessStarted
	if started.IsZero() {
		started = c.Started
	}
	detail := "running"
	if !c.Running {
		detail = fmt.Sprintf("exited with %d", c.ExitCode)
		if c.Reason != "" {
			detail += " (" + c.Reason + ")"
		}
	}
	return renew.Component{Name: c.Component, Pod: c.Pod, Version: c.Version(), ID: c.ID, Running: c.Running, Detail: detail, Started: started, Restarts: c.Attempt}
}
