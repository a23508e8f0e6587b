package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/runtime"
	"github.com/kubecertd/kubecertd/systemd"
)

// services are what systemd runs on this host: the kubelet's unit, and the machine as a
// whole. The connection is made when it is first needed.
type services struct {
	unit, healthz string

	mu      sync.Mutex
	manager *systemd.Manager
}

func (k *services) connect(ctx context.Context) (*systemd.Manager, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.manager != nil {
		return k.manager, nil
	}
	manager, err := systemd.Connect(ctx)
	if err != nil {
		return nil, err
	}
	k.manager = manager
	return manager, nil
}

func (k *services) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.manager != nil {
		k.manager.Close()
		k.manager = nil
	}
}

func (k *services) State(ctx context.Context) (renew.Component, error) {
	manager, err := k.connect(ctx)
	if err != nil {
		return renew.Component{}, err
	}
	unit, err := manager.Unit(ctx, k.unit)
	if err != nil {
		return renew.Component{}, err
	}
	c := renew.Component{Name: renew.Kubelet, ID: unit.InvocationID, Running: unit.ActiveState == "active",
		Detail: fmt.Sprintf("%s is %s (%s)", k.unit, unit.ActiveState, unit.SubState), Started: unit.ActiveSince, Restarts: unit.NRestarts}
	c.Stopped = unit.ActiveState == "inactive" || unit.ActiveState == "deactivating"
	if unit.LoadState == "not-found" {
		c.Detail = k.unit + " does not exist on this host"
	}
	if started, err := runtime.ProcessStart(unit.MainPID); c.Running && err == nil {
		c.Started = started
	}
	return c, nil
}

func (k *services) Healthy(ctx context.Context) error { return systemd.Healthz(ctx, k.healthz) }

func (k *services) Restart(ctx context.Context) error {
	manager, err := k.connect(ctx)
	if err != nil {
		return err
	}
	return manager.Restart(ctx, k.unit)
}

// Service is how systemd sees kubecertd.service.
func (k *services) Service(ctx context.Context) (string, error) {
	const name = "kubecertd.service"
	manager, err := k.connect(ctx)
	if err != nil {
		return "", err
	}
	unit, err := manager.Unit(ctx, name)
	if err != nil {
		return "", err
	}
	if unit.LoadState == "not-found" {
		return name + " does not exist on this host", nil
	}
	return fmt.Sprintf("%s is %s (%s)", name, unit.ActiveState, unit.SubState), nil
}

func (k *services) Stopping(ctx context.Context) (bool, error) {
	manager, err := k.connect(ctx)
	if err != nil {
		return false, err
	}
	return manager.Stopping(ctx)
}

func (k *services) DelayShutdown(ctx context.Context, why string) (func(), error) {
	manager, err := k.connect(ctx)
	if err != nil {
		return func() {}, err
	}
	return manager.DelayShutdown(ctx, why)
}
