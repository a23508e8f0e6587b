package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/runtime"
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
		Machine:     n.services,
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
		Hooks: renew.Hooks{Before: renew.Program{Argv: c.Hooks.BeforeRenewal, Timeout: c.Hooks.Timeout},
			After: renew.Program{Argv: c.Hooks.AfterProof, Timeout: c.Hooks.Timeout}},
		Log:   log,
		Now:   clock,
		Built: made(),
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
