package renew

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// Node is one host of a cluster: everything the flow looks at and acts on. Its
// fields are set once, before use.
type Node struct {
	// Locate says where the certificates lie; asked at each look, because a
	// manifest may have changed.
	Locate     func() (pki.Layout, []error)
	Containers containers
	Kubelet    kubelet
	Health     health
	Etcd       etcd
	Cluster    clusterConfiguration
	// Credentials tries renewed client certificates before anything is stopped; nil
	// tries none.
	Credentials credentials
	// Uses tries the client certificates of the API server where nothing else is proof;
	// nil tries none.
	Uses uses
	// Heartbeats say whether the API server hears of the kubelet; nil asks nobody.
	Heartbeats heartbeats
	Kubeadm    Kubeadm
	Policy     Policy
	Restarts   RestartOptions
	State      State
	Retention  Retention
	Host       Host // where to look for what else is at work
	// Leases may be nil: then stopped leaders keep theirs until they run out.
	Leases leases
	// Neighbours may be nil: then nobody else is waited for, and this node is not marked.
	Neighbours neighbours
	// APIServers may be nil: then the cluster's API servers are not remembered.
	APIServers apiServers
	// Turns may be nil: then this node takes turns with nobody.
	Turns turns
	// Servers are the API servers of the other nodes; nil where nobody asks them.
	Servers otherServers
	// RefuseTwo keeps an etcd of two members from being restarted until it is urgent.
	RefuseTwo bool
	// Machine may be nil: then nobody knows of a shutdown.
	Machine machine
	Log     *zap.Logger
	// ReadOnly says that it is only looked at: nothing is written, not even what would
	// be remembered.
	ReadOnly bool
	// SigningRequests may be nil: then those of the kubelet are not looked at. With
	// ApproveServing the kubelet's own is approved, if it is for this host as Identity
	// says.
	SigningRequests signingRequests
	ApproveServing  bool
	Identity        func() (Identity, error)
	// Hooks are the administrator's own programs.
	Hooks Hooks
	// Service may be nil: then nobody knows why the daemon does not run.
	Service service
	// Now is the clock. Nothing else in this package reads one.
	Now func() time.Time
	// Clocks are the kernel's, which tell what was on disk when a process started. It may
	// be nil: then the times of the files do.
	Clocks func() (Clocks, error)
	// ClockKept says whether a time server keeps the clock; nil is that nobody knows.
	// RequireKept is that nothing but what is critical is done otherwise.
	ClockKept   func() (bool, error)
	RequireKept bool
	// Built is when this program was made; no clock is right that is before it. It may be
	// zero.
	Built time.Time
	// reading is closed when what reads files that may hang has ended.
	reading chan struct{}
	// Alive is called while a run waits, so that the watchdog knows a slow step
	// from a hung loop. It may be nil.
	Alive func()
	// Ran is told of each run when it has ended, once. It may be nil.
	Ran func(Run)

	holding string // this node's name, while a run of its has the turn
	yielded bool   // the turn was left to others once

	// told is the cut-off run that the journal has heard of.
	told string
	used map[string]Use // what Ask has found, by process and certificate
}

// RestartOptions are the times that a restart is given.
type RestartOptions struct {
	// Grace is how long a component may take to leave after SIGTERM, by name.
	Grace map[string]time.Duration
	// GraceAlone replaces kube-apiserver's grace on a node without a peer. Its
	// listener is closed at once and watches never end, so that every second of
	// grace is a second of outage that serves nobody.
	GraceAlone time.Duration
	// Back is how long a container may take to be started again by the kubelet.
	Back time.Duration
	// Healthy is how long a component may take to answer its health endpoint.
	Healthy time.Duration
	// Kubelet is how long the restart of the kubelet's unit may take.
	Kubelet time.Duration
}

// containers are the static pods of this node.
type containers interface {
	// List returns the newest container of every static pod.
	List(ctx context.Context) ([]Component, error)
	// Stop sends SIGTERM, and SIGKILL after the grace; never to the same container
	// twice.
	Stop(ctx context.Context, c Component, grace time.Duration) (Stopped, error)
	// AwaitSuccessor waits until another container of the same pod runs.
	AwaitSuccessor(ctx context.Context, old Component, progress func(string)) (Component, error)
	// StopPod ends the pod of a container, so that the kubelet makes it anew.
	StopPod(ctx context.Context, c Component) error
	// Said is the end of what a container has logged.
	Said(ctx context.Context, c Component) (string, error)
}

// Stopped says how a container left.
type Stopped struct {
	Took   time.Duration
	Killed bool // it did not leave within its grace
}

// kubelet is the unit that brings the containers back.
type kubelet interface {
	State(ctx context.Context) (Component, error)
	Healthy(ctx context.Context) error
	Restart(ctx context.Context) error
}

// health asks the components themselves.
type health interface {
	// Await polls a component's health endpoint until it answers well.
	Await(ctx context.Context, component string, progress func(string)) error
}

// etcd knows who else shares this node's etcd.
type etcd interface {
	// Peers returns the other voting members, and why one of them cannot be relied
	// on; none where this node is the only member or has no etcd.
	Peers(ctx context.Context) (peers []string, unhealthy map[string]string, err error)
}

// leases are the leader leases of controller-manager and scheduler.
type leases interface {
	// Hold looks whether the component of this node leads, before it is stopped. release
	// gives its leadership up once its process is gone, if nobody has taken it over, and
	// says whether it did; it is nil when the component does not lead.
	Hold(ctx context.Context, component string) (release func(context.Context) (bool, error), err error)
}

// machine is the host as the service manager runs it.
type machine interface {
	// Stopping says whether it is shutting down.
	Stopping(ctx context.Context) (bool, error)
	// DelayShutdown asks for a shutdown to wait a little until release is called. An
	// error means that nobody could be asked; release may be called all the same.
	DelayShutdown(ctx context.Context, why string) (release func(), err error)
}

// service is the daemon's own unit.
type service interface {
	// Service says in words how it is: "kubecertd.service is active (running)".
	Service(ctx context.Context) (detail string, err error)
}

// clusterConfiguration is what kubeadm stored in the cluster.
type clusterConfiguration interface {
	// Configuration returns kubeadm's ClusterConfiguration as YAML.
	Configuration(ctx context.Context) ([]byte, error)
}

func (n *Node) alive() {
	if n.Alive != nil {
		n.Alive()
	}
}
