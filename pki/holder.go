package pki

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// Holder is a container of a static pod, other than kubeadm's own, that sees
// certificates of this node: kube-vip, a proxy, a sidecar.
type Holder struct {
	// Pod is the pod's name in its manifest, to which the kubelet adds the node's;
	// Container is the container's in the pod.
	Pod       string `json:"pod"`
	Container string `json:"container"`
	// Mounts are the certificates that it sees, in the order of the node's list.
	Mounts []Mount `json:"mounts"`
}

// Mount is one certificate that a container sees.
type Mount struct {
	Certificate string `json:"certificate"`
	// HostPath is what is mounted: a file of the certificate, or a directory that it
	// lies in. Of a directory it is not known whether the container reads the
	// certificate, unless Named.
	HostPath string `json:"hostPath"`
	// Named says that the container's command line or environment names the file.
	Named bool `json:"named,omitempty"`
}

// Name is what a holder is called: its pod, with its container where that has another
// name. No two have the same, and none that of a component of kubeadm's.
func (h Holder) Name() string {
	if h.Container == h.Pod {
		return h.Pod
	}
	return h.Pod + "/" + h.Container
}

// kubeadmPods are the static pods whose certificates are known without looking (kubeadm:
// phases/controlplane/manifests.go, phases/etcd/local.go).
var kubeadmPods = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// Holders finds the containers of static pods, besides kubeadm's components, that mount
// a certificate of this node from the host, by name.
//
// A directory counts if it lies in kubeadm's directories: a pod that mounts / or /etc
// is rarely there for the certificates. Of a directory, what the command line and the
// environment name is meant, and everything in it when they name nothing. The kubelet's
// own certificates do not count as part of a directory, and CAs are never renewed.
func (l Layout) Holders() []Holder {
	var holders []Holder
	for _, name := range slices.Sorted(maps.Keys(l.Manifests)) {
		m := l.Manifests[name]
		for i, c := range m.containers {
			if i == m.main && slices.Contains(kubeadmPods, m.Name) {
				continue
			}
			if mounts := l.mounts(c); len(mounts) > 0 {
				holders = append(holders, Holder{m.Name, c.name, mounts})
			}
		}
	}
	return holders
}

// mounts are the certificates that a container sees.
func (l Layout) mounts(c container) []Mount {
	if len(c.paths) == 0 {
		return nil
	}
	var found []Mount
	named := false
	for _, s := range l.sources {
		if s.kind == CA {
			continue
		}
		if m, ok := l.mount(c, s); ok {
			found = append(found, m)
			named = named || m.Named
		}
	}
	if !named {
		return found
	}
	return slices.DeleteFunc(found, func(m Mount) bool { return !m.Named && !l.file(m) })
}

// mount says by which of a container's mounts it sees a certificate, if by any.
func (l Layout) mount(c container, s source) (found Mount, ok bool) {
	for _, p := range c.paths {
		host := l.Resolve(p.host)
		for _, file := range []string{s.path, s.key} {
			if file == "" {
				continue
			}
			inside, below := under(l.Resolve(file), host)
			if !below {
				inside, below = under(file, p.host) // a link inside of the directory
			}
			if !below {
				continue
			}
			names := slices.ContainsFunc(c.words, func(word string) bool { return strings.Contains(word, path.Join(p.inside, inside)) })
			switch {
			case inside == "", names: // the file itself
			case s.renewer == Kubelet, !l.ours(host):
				continue
			}
			if !ok || names {
				found, ok = Mount{Certificate: s.name, HostPath: p.host, Named: names}, true
			}
		}
	}
	return found, ok
}

// ours says whether a directory is one of kubeadm's, or lies in one.
func (l Layout) ours(directory string) bool {
	return slices.ContainsFunc([]string{l.KubernetesDir, l.CertificatesDir}, func(dir string) bool {
		_, below := under(directory, l.Resolve(dir))
		return below
	})
}

// file says whether what is mounted is a file of the certificate, and no directory.
func (l Layout) file(m Mount) bool {
	return slices.ContainsFunc(l.sources, func(s source) bool {
		return s.name == m.Certificate && (l.same(s.path, m.HostPath) || s.key != "" && l.same(s.key, m.HostPath))
	})
}

// under is where a path lies below a directory; "" when it is that itself.
func under(file, directory string) (inside string, ok bool) {
	if file == directory {
		return "", true
	}
	return strings.CutPrefix(file, strings.TrimSuffix(directory, "/")+"/")
}
