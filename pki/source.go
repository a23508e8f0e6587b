package pki

import (
	"os"
	"path"
	"strings"
)

// source is one certificate that this node should have, and where.
type source struct {
	name     string
	kind     Kind
	renewer  Renewer
	path     string
	key      string // empty where no key is expected beside the certificate
	ca       string // name of its authority
	optional bool
	// awaited says that it is told of also while it is missing, though optional: somebody
	// has been asked for it.
	awaited bool
	// foreign says that somebody else made it, so that its authority need not be
	// one of the cluster's.
	foreign bool
	// trusted is, for an authority, another file of certificates by which its leaves
	// are verified.
	trusted string
	// own says that its process makes it itself when neither certificate nor key is
	// there, and does not start when only one is.
	own bool
}

// list is every certificate of this node, under kubeadm's names and in the order
// in which `kubeadm certs renew all` takes them (kubeadm:
// phases/certs/renewal/manager.go), then the kubelet's, then the CAs.
func (l Layout) list() []source {
	var list []source
	if l.ControlPlane {
		list = l.controlPlane()
	}
	list = append(list, l.kubeletClient(), l.kubeletServer())
	return append(list, l.authorities()...)
}

func (l Layout) controlPlane() []source {
	dir := l.CertificatesDir
	api, etcd := l.Manifests["kube-apiserver"], l.Manifests["etcd"]
	// kubeadm renews in its own places, whatever a manifest names (kubeadm:
	// phases/certs/renewal/manager.go).
	made := func(s source, place string) source {
		s.renewer = Kubeadm
		if !l.same(s.path, place) {
			s.renewer, s.foreign = Nobody, true
		}
		return s
	}
	conf := func(name string, m Manifest) source {
		place := path.Join(l.KubernetesDir, name)
		return made(source{name: name, kind: Kubeconfig, ca: "ca", path: m.file("kubeconfig", place)}, place)
	}
	pem := func(name, ca string, m Manifest, certFlag, keyFlag, file string) source {
		place := path.Join(dir, file+".crt")
		return made(source{name: name, kind: PEM, ca: ca, path: m.file(certFlag, place),
			key: m.file(keyFlag, path.Join(dir, file+".key"))}, place)
	}
	list := []source{
		conf("admin.conf", Manifest{}),
		pem("apiserver", "ca", api, "tls-cert-file", "tls-private-key-file", "apiserver"),
	}
	// An API server whose etcd is elsewhere may have been given its client
	// certificate by the operator.
	etcdClient := pem("apiserver-etcd-client", "etcd-ca", api, "etcd-certfile", "etcd-keyfile", "apiserver-etcd-client")
	if _, named := api.Flag("etcd-certfile"); l.LocalEtcd || named {
		if !l.LocalEtcd {
			// kubeadm drops it with an external etcd (phases/certs/certlist.go), which may
			// have one CA for itself and another for its clients.
			etcdClient.renewer, etcdClient.foreign = Nobody, true
		}
		list = append(list, etcdClient)
	}
	list = append(list,
		pem("apiserver-kubelet-client", "ca", api, "kubelet-client-certificate", "kubelet-client-key", "apiserver-kubelet-client"),
		conf("controller-manager.conf", l.Manifests["kube-controller-manager"]))
	if l.LocalEtcd {
		list = append(list,
			pem("etcd-healthcheck-client", "etcd-ca", Manifest{}, "", "", "etcd/healthcheck-client"),
			pem("etcd-peer", "etcd-ca", etcd, "peer-cert-file", "peer-key-file", "etcd/peer"),
			pem("etcd-server", "etcd-ca", etcd, "cert-file", "key-file", "etcd/server"))
	}
	list = append(list,
		pem("front-proxy-client", "front-proxy-ca", api, "proxy-client-cert-file", "proxy-client-key-file", "front-proxy-client"),
		conf("scheduler.conf", l.Manifests["kube-scheduler"]))
	// Only the node of `kubeadm init` has it (kubeadm: phases/kubeconfig/kubeconfig.go).
	super := conf("super-admin.conf", Manifest{})
	super.optional = true
	list = append(list, super)
	for _, own := range [][2]string{{"kube-controller-manager", ControllerManagerServing}, {"kube-scheduler", SchedulerServing}} {
		if s, file := l.servingFile(own[0], own[1]); file {
			list = append(list, s)
		}
	}
	return list
}

// servingFile is the file of a serving certificate that its component would otherwise
// make in memory: the one its manifest names, or the one it wrote into a directory of
// the host that its manifest names (apiserver: server/options/serving.go).
func (l Layout) servingFile(component, name string) (s source, file bool) {
	m := l.Manifests[component]
	s = source{name: name, kind: PEM, renewer: Nobody, foreign: true,
		path: m.file("tls-cert-file", ""), key: m.file("tls-private-key-file", "")}
	if dir := m.file("cert-dir", ""); s.path == "" && dir != "" && l.exists(path.Join(dir, component+".crt")) {
		s.path, s.key = path.Join(dir, component+".crt"), path.Join(dir, component+".key")
	}
	return s, s.path != ""
}

func (l Layout) kubeletClient() source {
	return source{name: "kubelet-client", kind: Kubeconfig, renewer: Kubelet, ca: "ca", path: l.KubeletKubeconfig, optional: !l.ControlPlane && !l.exists(l.KubeletConfig)}
}

// kubeletServer is what the kubelet serves: the file its configuration names; the
// one it asks the cluster for with serverTLSBootstrap; or the one it signs itself,
// once, when there is none (kubelet: cmd/kubelet/app/server.go).
func (l Layout) kubeletServer() source {
	s := source{name: "kubelet-server", kind: PEM, renewer: Nobody, optional: true}
	dir := path.Join(l.KubeletDir, "pki")
	switch {
	case l.kubelet.TLSCertFile != "":
		s.path, s.key = l.kubelet.TLSCertFile, l.kubelet.TLSPrivateKeyFile
	case l.kubelet.ServerTLSBootstrap:
		s.path = path.Join(dir, "kubelet-server-current.pem")
		s.key, s.renewer, s.ca, s.awaited = s.path, Kubelet, "ca", true
	default:
		s.path, s.key, s.own = path.Join(dir, "kubelet.crt"), path.Join(dir, "kubelet.key"), true
	}
	return s
}

// authorities are the CAs that kubeadm signs with, in its own places. A component
// may verify by another file, a bundle with further CAs in it; where kubeadm's is not
// on this node, that file is the CA.
func (l Layout) authorities() []source {
	dir := l.CertificatesDir
	api, etcd := l.Manifests["kube-apiserver"], l.Manifests["etcd"]
	ca := func(name, file, trusted string) source {
		if file == "" || (trusted != "" && !l.exists(file) && l.exists(trusted)) {
			file = trusted
		}
		if trusted == file {
			trusted = ""
		}
		return source{name: name, kind: CA, renewer: Nobody, path: file, trusted: trusted,
			key: strings.TrimSuffix(file, path.Ext(file)) + ".key"}
	}
	list := []source{ca("ca", path.Join(dir, "ca.crt"), api.file("client-ca-file", ""))}
	if !l.ControlPlane {
		list[0].optional = true
		return list
	}
	if l.LocalEtcd {
		list = append(list, ca("etcd-ca", path.Join(dir, "etcd", "ca.crt"), etcd.file("trusted-ca-file", "")))
	} else if file := api.file("etcd-cafile", ""); file != "" {
		list = append(list, ca("etcd-ca", "", file))
	}
	return append(list, ca("front-proxy-ca", path.Join(dir, "front-proxy-ca.crt"), api.file("requestheader-client-ca-file", "")))
}

// same says whether two paths are of one file, whatever they are called.
func (l Layout) same(a, b string) bool {
	if a == b {
		return true
	}
	one, err := os.Stat(l.follow(a))
	if err != nil {
		return false
	}
	other, err := os.Stat(l.follow(b))
	return err == nil && os.SameFile(one, other)
}
