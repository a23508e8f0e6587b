package renew

import "strings"

// GateNames are all gates there are. One that is about one component or one CA has that
// after its own name: "component etcd".
var GateNames = []string{
	gatePaused, "host", gateClock, "ca", "systemd", "kubelet", "kubelet-client", "containers", "component",
	"shutdown", "kubeadm", "cluster-configuration", "disk", "etcd", "two-members", "apiserver",
	gateKured, gateCordon, gateUpgrade, gateWindow, gateTurn, gateHook,
}

// Kind is the gate's name without what it is about.
func (g Gate) Kind() string {
	kind, _, _ := strings.Cut(g.Name, " ")
	return kind
}
