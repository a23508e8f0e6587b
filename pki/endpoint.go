package pki

import (
	"net"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// Endpoint is a port of this node on which a component shows a certificate.
type Endpoint struct {
	Component string `json:"component"`
	// Name is the certificate's name: that of a file, or of one that exists only in
	// the process's memory.
	Name    string `json:"name"`
	Address string `json:"address"`
	// ServerName is the name asked for (SNI).
	ServerName string `json:"serverName,omitempty"`
	// Certificate is the name of the certificate file that should be served; empty
	// for one in memory.
	Certificate string `json:"certificate,omitempty"`

	// clientCertificate and clientKey are presented where the port asks for them, so
	// that etcd does not log a rejected connection at each look.
	clientCertificate, clientKey string
}

// The names of certificates that exist only in memory: each process makes its own
// at its start (apiserver: server/options/serving_with_loopback.go; client-go:
// util/cert/cert.go).
const (
	Loopback                 = "apiserver-loopback"
	ControllerManagerServing = "controller-manager-serving"
	SchedulerServing         = "scheduler-serving"
)

// Endpoints are the ports of this node to be asked.
func (l Layout) Endpoints() []Endpoint {
	var list []Endpoint
	if l.ControlPlane {
		// 127.0.0.1 is not among the names of the serving certificate, and need not be:
		// what is served is compared, not trusted (kubeadm: util/pkiutil/pki_helpers.go).
		api := l.Address("kube-apiserver")
		list = append(list,
			Endpoint{Component: "kube-apiserver", Name: "apiserver", Address: api, ServerName: "kubernetes", Certificate: "apiserver"},
			Endpoint{Component: "kube-apiserver", Name: Loopback, Address: api, ServerName: loopbackName})
		list = append(list, l.ownServing("kube-controller-manager", ControllerManagerServing)...)
		list = append(list, l.ownServing("kube-scheduler", SchedulerServing)...)
	}
	if l.LocalEtcd {
		dir := path.Join(l.CertificatesDir, "etcd")
		etcd := l.Manifests["etcd"]
		list = append(list,
			Endpoint{Component: "etcd", Name: "etcd-server", Address: l.Address("etcd"), ServerName: "localhost", Certificate: "etcd-server",
				clientCertificate: l.follow(path.Join(dir, "healthcheck-client.crt")), clientKey: l.follow(path.Join(dir, "healthcheck-client.key"))},
			Endpoint{Component: "etcd", Name: "etcd-peer", Address: urlAddress(etcd, "listen-peer-urls", "127.0.0.1:2380"), Certificate: "etcd-peer",
				clientCertificate: l.follow(etcd.file("peer-cert-file", path.Join(dir, "peer.crt"))), clientKey: l.follow(etcd.file("peer-key-file", path.Join(dir, "peer.key")))})
	}
	if l.exists(l.KubeletConfig) {
		list = append(list, Endpoint{Component: "kubelet", Name: "kubelet-server", Address: l.Address("kubelet"), Certificate: "kubelet-server"})
	}
	return list
}

// ownServing is the port of a component that serves what it signs itself, in memory
// unless its manifest names files; none where the port is switched off.
func (l Layout) ownServing(component, name string) []Endpoint {
	m, ok := l.Manifests[component]
	if port, set := m.Flag("secure-port"); !ok || (set && port == "0") {
		return nil
	}
	e := Endpoint{Component: component, Name: name, Address: l.Address(component)}
	if _, file := l.servingFile(component, name); file {
		e.Certificate = name
	}
	return []Endpoint{e}
}

// Address is where a component's secure port is reached from this node.
func (l Layout) Address(component string) string {
	m := l.Manifests[component]
	bind := func(port string) string {
		host, _ := m.Flag("bind-address")
		if p, ok := m.Flag("secure-port"); ok {
			port = p
		}
		return reachable(host, port)
	}
	switch component {
	case "kube-apiserver":
		return bind("6443")
	case "kube-controller-manager":
		return bind("10257")
	case "kube-scheduler":
		return bind("10259")
	case "etcd":
		return urlAddress(m, "listen-client-urls", "127.0.0.1:2379")
	case "kubelet":
		port := "10250"
		if l.kubelet.Port != 0 {
			port = strconv.Itoa(l.kubelet.Port)
		}
		return reachable(l.kubelet.Address, port)
	default:
		return ""
	}
}

// HealthURL is the endpoint at which a static pod says that it works: for
// kube-apiserver and etcd that they are ready to serve, which for etcd takes a
// quorum. It is asked rather than waiting for the kubelet's probes, the first of
// which comes ten seconds after the start (kubeadm: util/staticpod/utils.go).
func (l Layout) HealthURL(component string) string {
	switch component {
	case "kube-apiserver":
		return "https://" + l.Address(component) + "/readyz"
	case "kube-controller-manager", "kube-scheduler":
		return "https://" + l.Address(component) + "/healthz"
	case "etcd":
		m := l.Manifests[component]
		if urls, ok := m.Flag("listen-metrics-urls"); ok {
			first, _, _ := strings.Cut(urls, ",")
			return strings.TrimSuffix(first, "/") + "/health"
		}
		return "http://127.0.0.1:2381/health"
	default:
		return ""
	}
}

// urlAddress is the address in the first https URL of a flag, a loopback one if
// there is one.
func urlAddress(m Manifest, flag, otherwise string) string {
	urls, _ := m.Flag(flag)
	found := ""
	for raw := range strings.SplitSeq(urls, ",") {
		u, err := url.Parse(strings.TrimSpace(raw))
		if err != nil || u.Scheme != "https" || u.Port() == "" {
			continue
		}
		address := reachable(u.Hostname(), u.Port())
		if ip := net.ParseIP(u.Hostname()); found == "" || (ip != nil && ip.IsLoopback()) {
			found = address
		}
	}
	return or(found, otherwise)
}

// reachable is the address at which something that listens on host is reached.
func reachable(host, port string) string {
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
