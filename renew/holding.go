package renew

import (
	"cmp"
	"time"
)

// The components of a kubeadm node, in the order in which they are restarted:
// etcd first, because the API server cannot start without it; the API server
// next, because controller-manager and scheduler leave when they cannot reach it
// for ten seconds; the kubelet last, because it is what brings all of them back.
// kubeadm upgrades in the same order (kubeadm: phases/upgrade/staticpods.go).
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kubelet           = "kubelet"
)

// Order is the order of restarts.
var Order = []string{Etcd, APIServer, ControllerManager, Scheduler, Kubelet}

// Holding is one certificate that one component has read, and how it takes up a
// new file.
type Holding struct {
	Component   string
	Certificate string
	// Reloads says that the running process takes up a new file by itself.
	Reloads bool
	// Within is how long a listener that reloads may take for it; what it serves until
	// then does not count as stale.
	Within time.Duration
	// Served says that the component shows this certificate on a port, so that what
	// it has loaded can be compared with what is on disk.
	Served bool
	// Peer says that the component does not read the file, but keeps connections
	// that were authenticated with it.
	Peer bool
}

// Holdings is who holds what on a kubeadm node.
//
// Sources: kube-apiserver's serving and proxy certificates are watched files
// (apiserver: server/dynamiccertificates/dynamic_serving_content.go); its client
// certificates for the kubelet are re-read by client-go (transport/cert_rotation.go)
// and those for etcd at each handshake; etcd reads its files at each handshake
// (etcd: client/pkg/transport/listener.go). controller-manager and scheduler have
// their credentials embedded in a kubeconfig that they read once, at their start.
//
// The kubelet reads none of these, but keeps connections that the API server
// opened with its old client certificate (kubernetes#114588).
var Holdings = []Holding{
	{Component: Etcd, Certificate: "etcd-server", Reloads: true, Served: true, Within: handshake},
	{Component: Etcd, Certificate: "etcd-peer", Reloads: true, Served: true, Within: handshake},
	{Component: APIServer, Certificate: "apiserver", Reloads: true, Served: true, Within: resync},
	{Component: APIServer, Certificate: "apiserver-kubelet-client", Reloads: true},
	{Component: APIServer, Certificate: "apiserver-etcd-client", Reloads: true},
	{Component: APIServer, Certificate: "front-proxy-client", Reloads: true},
	{Component: ControllerManager, Certificate: "controller-manager.conf"},
	{Component: Scheduler, Certificate: "scheduler.conf"},
	{Component: Kubelet, Certificate: "apiserver-kubelet-client", Peer: true},
	{Component: Kubelet, Certificate: "kubelet-client", Reloads: true},
	{Component: Kubelet, Certificate: "kubelet-server", Reloads: true, Served: true, Within: resync},
}

const (
	// handshake is for those who read the files at each handshake: the probe that is
	// under way may have begun before.
	handshake = 5 * time.Second
	// resync is for those who watch the files, and look again after a minute should the
	// watch have failed (apiserver: server/dynamiccertificates/tlsconfig.go).
	resync = 70 * time.Second
)

// RestartPolicy says when a component is restarted.
type RestartPolicy string

const (
	// RestartAlways restarts every holder of a renewed certificate, as kubeadm's own
	// message asks.
	RestartAlways RestartPolicy = "always"
	// RestartAuto restarts what is proven not to have loaded what is on disk, or can
	// only load it by a restart.
	RestartAuto RestartPolicy = "auto"
	// RestartNever restarts nothing, and says what is stale.
	RestartNever RestartPolicy = "never"
)

// RestartPolicies is the policy for each component.
type RestartPolicies struct {
	Default RestartPolicy            // RestartAlways when empty
	Of      map[string]RestartPolicy // by component; empty is the default
}

// For is a component's policy.
func (p RestartPolicies) For(component string) RestartPolicy {
	return cmp.Or(p.Of[component], p.Default, RestartAlways)
}

// renewed says whether a component is restarted because a certificate that it holds is
// about to be renewed.
func (p RestartPolicies) renewed(h Holding) bool {
	switch p.For(h.Component) {
	case RestartNever:
		return false
	case RestartAuto:
		return !h.Reloads && !h.Peer
	default:
		return true
	}
}

// Holders names the components that hold a certificate, in restart order.
func Holders(certificate string) []string {
	var holders []string
	for _, h := range Holdings {
		if h.Certificate == certificate {
			holders = append(holders, h.Component)
		}
	}
	return holders
}
