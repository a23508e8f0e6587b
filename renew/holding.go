package renew

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/kubecertd/kubecertd/pki"
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

// Order is the order of restarts of those components. The static pods of others come
// before the kubelet.
var Order = []string{Etcd, APIServer, ControllerManager, Scheduler, Kubelet}

// Holding is one certificate that one component has read, and how it takes up a
// new file.
type Holding struct {
	Component   string
	Certificate string
	// Since is the first version of the component (Kubernetes', or etcd's) that takes up
	// a new file by itself; empty when none does. Source says where that is seen.
	Since  string
	Source string
	// Within is how long a listener that reloads may take for it; what it serves until
	// then does not count as stale.
	Within time.Duration
	// Served says that the component shows this certificate on a port, so that what
	// it has loaded can be compared with what is on disk. For the others the start of
	// the process is compared with the file.
	Served bool
	// Used says that the API server can be seen to use it as a client, and how often it
	// is judged: perRequest or perConnection. See Use.
	Used string
	// Peer says that the component does not read the file, but keeps connections
	// that were authenticated with it.
	Peer bool
	// Mount is how a static pod of others sees the file; nil for kubeadm's components.
	Mount *pki.Mount

	// Reloads says that the process that runs now takes up a new file by itself. It is
	// for holdings, not for the table.
	Reloads bool
}

// Holdings is who holds what on a kubeadm node. Each version was looked up in the
// source of that release and of the one before, where not said otherwise.
var Holdings = []Holding{
	{Component: Etcd, Certificate: "etcd-server", Since: "3.2", Served: true, Within: handshake,
		Source: "etcd: pkg/transport/listener.go, GetCertificate reads the files at each handshake (etcd#7829)"},
	{Component: Etcd, Certificate: "etcd-peer", Since: "3.2", Served: true, Within: handshake,
		Source: "etcd: pkg/transport/listener.go, GetCertificate and GetClientCertificate (etcd#7829)"},
	{Component: APIServer, Certificate: "apiserver", Since: "1.17", Served: true, Within: resync,
		Source: "apiserver: server/dynamiccertificates/dynamic_serving_content.go (kubernetes#84200)"},
	{Component: APIServer, Certificate: "apiserver-kubelet-client", Since: "1.18", Used: perRequest,
		Source: "client-go: transport/cert_rotation.go, every 5 minutes and at each handshake (kubernetes#79083)"},
	{Component: APIServer, Certificate: "apiserver-etcd-client", Since: "1.17", Used: perConnection,
		Source: "apiserver: storage/storagebackend/factory/etcd3.go, by etcd's client at each handshake; releases before 1.17 were not looked at"},
	{Component: APIServer, Certificate: "front-proxy-client", Since: "1.19", Used: perRequest,
		Source: "kube-aggregator: apiserver/apiserver.go, aggregator-proxy-cert (kubernetes#92791)"},
	{Component: ControllerManager, Certificate: "controller-manager.conf",
		Source: "client-go: transport/transport.go, what is embedded in a kubeconfig is read once (kubernetes 1.36: cmd/kube-controller-manager/app/options/options.go)"},
	{Component: Scheduler, Certificate: "scheduler.conf",
		Source: "client-go: transport/transport.go, what is embedded in a kubeconfig is read once (kubernetes 1.36: cmd/kube-scheduler/app/options/options.go)"},
	{Component: Kubelet, Certificate: "apiserver-kubelet-client", Peer: true,
		Source: "connections that the API server opened with its old certificate are kept (kubernetes#114588)"},
	{Component: Kubelet, Certificate: "kubelet-client", Since: "1.8",
		Source: "kubelet: certificate/transport.go, it writes the file itself (RotateKubeletClientCertificate, by the documentation of feature gates)"},
	{Component: Kubelet, Certificate: "kubelet-server", Since: "1.36", Served: true, Within: resync,
		// From 1.31 it reloads for those who ask for it by a name, and goes on showing the
		// old one to those who connect by address, as kubeadm's API servers do.
		Source: "kubelet: server/server.go (ReloadKubeletServerCertificateFile since 1.31, by address since kubernetes#133654)"},
}

// holdings is who holds what on this node, and which process reloads. A version that is
// not known counts as one that does not: what is restarted without need costs a moment,
// and what goes on with a certificate that has run out costs the node.
func (o Observation) holdings() []Holding {
	var list []Holding
	for _, h := range Holdings {
		certificate, _ := o.Certificate(h.Certificate)
		component, _ := o.Component(h.Component)
		// What the kubelet writes, it uses (kubelet: certificate/kubelet.go).
		h.Reloads = certificate.Renewer == pki.Kubelet && !wasGiven(certificate) || atLeast(component.Version, h.Since)
		if !h.Reloads {
			h.Within = 0
		}
		list = append(list, h)
	}
	for _, other := range o.Others {
		for i, m := range other.Mounts {
			list = append(list, Holding{Component: other.Name(), Certificate: m.Certificate, Mount: &other.Mounts[i],
				Source: "its manifest mounts " + m.HostPath})
		}
	}
	return list
}

// holds says whether a component holds a certificate.
func (o Observation) holds(component, certificate string) bool {
	return slices.ContainsFunc(o.holdings(), func(h Holding) bool { return h.Component == component && h.Certificate == certificate })
}

// atStart says why a process must be restarted to take up a new file.
func (h Holding) atStart(c Component) string {
	switch {
	case h.Mount != nil:
		return fmt.Sprintf("mounts %s; only a restart is known to make it read the file again", h.Mount.HostPath)
	case h.Since == "":
		return "reads it only at its start"
	case c.Version == "":
		return fmt.Sprintf("is of an unknown version; only from %s on does it take up a new file by itself", h.Since)
	default:
		return fmt.Sprintf("is %s; only from %s on does it take up a new file by itself", c.Version, h.Since)
	}
}

// atLeast says whether a version, as an image is tagged, is certainly not older than
// since.
func atLeast(running, since string) bool {
	if running == "" || since == "" {
		return false
	}
	v, err := version.ParseGeneric(running)
	return err == nil && v.AtLeast(version.MustParseGeneric(since))
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
