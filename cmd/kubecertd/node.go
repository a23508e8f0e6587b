package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/runtime"
	"github.com/kubecertd/kubecertd/systemd"
)

// node is a renew.Node with what must be closed after it.
type node struct {
	renew.Node
	pods     *staticPods
	services *services
}

// newNode wires a node from the configuration. Nothing is dialled before it is
// asked for, so that it cannot fail. A nil log says nothing.
func newNode(c configs.Config, log *zap.Logger) *node {
	if log == nil {
		log = zap.NewNop()
	}
	cache := pki.NewCache()
	locate := func() (pki.Layout, []error) {
		return pki.Locate(pki.Options{Root: c.Paths.Root, KubernetesDir: c.Paths.Kubernetes,
			CertificatesDir: c.Paths.Certificates, KubeletDir: c.Paths.Kubelet, Watch: watched(c), Cache: cache,
			Copies: c.Renew.Copies})
	}
	state := renew.State{Dir: c.Paths.State}
	ask := asking{locate, c.Cluster.Kubeconfig, state}
	layout, _ := locate()
	n := &node{
		pods:     &staticPods{root: c.Paths.Root, endpoint: c.Runtime.Endpoint, log: log.Named("runtime")},
		services: &services{unit: c.Kubelet.Unit, healthz: c.Kubelet.Healthz},
	}
	n.Node = renew.Node{
		Locate:      locate,
		Containers:  n.pods,
		Kubelet:     n.services,
		Health:      health{locate},
		Etcd:        etcd{locate},
		Cluster:     ask,
		APIServers:  ask,
		Neighbours:  neighbours{ask, c.Cluster.Kured},
		Credentials: credentials{locate},
		Uses:        uses{ask},
		Turns:       turns{ask, clock},
		Servers:     turns{ask, clock},
		RefuseTwo:   c.Turn.TwoMembers == "refuse",
		Heartbeats:  heartbeats{ask},
		Kubeadm:     renew.Kubeadm{Path: c.Renew.Kubeadm, Timeout: c.Renew.Timeout},
		Policy: renew.Policy{Before: c.Renew.Before.Before, Share: c.Renew.Before.Share, Margin: renew.Margin(c.Renew.Critical),
			Spread: spread(c.Paths.Root, layout), Remedies: remedies(c), Windows: windows(c.Renew),
			Retry: renew.Retry{After: c.Check.Retry, Limit: c.Check.RetryLimit}, Restart: policies(c.Restart)},
		Restarts: renew.RestartOptions{
			Grace: map[string]time.Duration{
				renew.Etcd:              c.Restart.Grace.Etcd,
				renew.APIServer:         c.Restart.Grace.APIServer,
				renew.ControllerManager: c.Restart.Grace.ControllerManager,
				renew.Scheduler:         c.Restart.Grace.Scheduler,
			},
			GraceAlone: c.Restart.GraceAlone,
			Back:       c.Restart.Timeout,
			Healthy:    c.Restart.Healthy,
			Kubelet:    c.Kubelet.Timeout,
		},
		State:     state,
		Host:      renew.Host{Root: c.Paths.Root},
		Retention: renew.Retention{Keep: c.Snapshots.Keep, Age: c.Snapshots.Age},
		Log:       log,
		Now:       clock,
		Built:     made(),
	}
	if c.Paths.Root == "" {
		n.Clocks = clocks // of another root nobody knows what ran when
		n.ClockKept, n.RequireKept = runtime.ClockKept, c.Clock.RequireSync
		n.Service = n.services
	}
	n.SigningRequests, n.ApproveServing, n.Identity = &signing{locate: locate}, c.Kubelet.ApproveServing, identity
	if c.Restart.ReleaseLeases {
		n.Leases = leases{ask}
	}
	return n
}

// clocks are the kernel's.
func clocks() (c renew.Clocks, err error) {
	if c.Boot, err = runtime.Boot(); err != nil {
		return c, err
	}
	c.Wall, c.Up, err = runtime.Clocks()
	return c, err
}

// windows are the maintenance windows as configured, which has been validated.
func windows(c configs.Renew) renew.Windows {
	w := renew.Windows{}
	open, _ := configs.Windows(c.Windows)
	for _, one := range open {
		w.Open = append(w.Open, renew.Window(one))
	}
	w.Zone, _ = time.LoadLocation(c.Timezone)
	return w
}

// made is when this program was made; zero when it is not stamped.
func made() time.Time {
	seconds, err := strconv.ParseInt(built, 10, 64)
	if err != nil || seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// policies are the restart policies as configured.
func policies(c configs.Restart) renew.RestartPolicies {
	policies := renew.RestartPolicies{Default: renew.RestartPolicy(c.Policy), Of: map[string]renew.RestartPolicy{
		renew.Etcd:              renew.RestartPolicy(c.Override.Etcd),
		renew.APIServer:         renew.RestartPolicy(c.Override.APIServer),
		renew.ControllerManager: renew.RestartPolicy(c.Override.ControllerManager),
		renew.Scheduler:         renew.RestartPolicy(c.Override.Scheduler),
		renew.Kubelet:           renew.RestartPolicy(c.Override.Kubelet),
	}}
	for name, policy := range c.Override.Others {
		policies.Of[name] = renew.RestartPolicy(policy)
	}
	return policies
}

func (n *node) close() {
	n.pods.close()
	n.services.close()
}

// fits refuses a configuration that cannot work with this node's certificates
// while a person is looking.
func (n *node) fits() error {
	if unfit := n.Policy.Unfit(n.ObserveDisk(n.Now()).Certificates); len(unfit) > 0 {
		return fmt.Errorf("renew.before: %s is not shorter than the lifetime of certificates on this node (%s): set a shorter time or a share, such as 33%%",
			n.Policy, strings.Join(unfit, "; "))
	}
	return nil
}

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

// health asks components at the addresses that their manifests name.
type health struct {
	locate func() (pki.Layout, []error)
}

func (h health) Await(ctx context.Context, component string, progress func(string)) error {
	layout, _ := h.locate()
	url := layout.HealthURL(component)
	if url == "" {
		return errors.New("its manifest names no health endpoint")
	}
	// Any client of the cluster's CA may ask for readiness where strangers may not
	// (ClusterRole system:public-info-viewer).
	client := filepath.Join(layout.Root, layout.CertificatesDir, "apiserver-kubelet-client")
	return runtime.Await(ctx, runtime.Check{Component: component, URL: url, ClientCertificate: func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(client+".crt", client+".key")
		return &pair, err
	}}, 50*time.Millisecond, progress)
}

// etcd is the member on this node.
type etcd struct {
	locate func() (pki.Layout, []error)
}

func (e etcd) Peers(ctx context.Context) ([]string, map[string]string, error) {
	layout, _ := e.locate()
	if !layout.LocalEtcd {
		return []string{"external etcd"}, nil, nil
	}
	return member(layout).Peers(ctx)
}
