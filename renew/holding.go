package renew

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
	{Component: Etcd, Certificate: "etcd-server", Reloads: true, Served: true},
	{Component: Etcd, Certificate: "etcd-peer", Reloads: true, Served: true},
	{Component: APIServer, Certificate: "apiserver", Reloads: true, Served: true},
	{Component: APIServer, Certificate: "apiserver-kubelet-client", Reloads: true},
	{Component: APIServer, Certificate: "apiserver-etcd-client", Reloads: true},
	{Component: APIServer, Certificate: "front-proxy-client", Reloads: true},
	{Component: ControllerManager, Certificate: "controller-manager.conf"},
	{Component: Scheduler, Certificate: "scheduler.conf"},
	{Component: Kubelet, Certificate: "apiserver-kubelet-client", Peer: true},
	{Component: Kubelet, Certificate: "kubelet-client", Reloads: true},
	{Component: Kubelet, Certificate: "kubelet-server", Reloads: true, Served: true},
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
