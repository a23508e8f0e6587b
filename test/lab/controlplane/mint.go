//go:build linux

package controlplane

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	kubernetesDir = "/etc/kubernetes/"
	pkiDir        = kubernetesDir + "pki/"
)

// leaf is one certificate of a node under the name that kubeadm gives it.
type leaf struct {
	name string
	// file is the certificate, a kubeconfig that has it inside, or a PEM file
	// with its key.
	file string
	// key is the file of the key, empty when it is in file.
	key string
	// ca is the path of the CA without .crt and .key.
	ca string
}

var leaves = []leaf{
	{"admin.conf", kubernetesDir + "admin.conf", "", pkiDir + "ca"},
	{"apiserver", pkiDir + "apiserver.crt", pkiDir + "apiserver.key", pkiDir + "ca"},
	{"apiserver-etcd-client", pkiDir + "apiserver-etcd-client.crt", pkiDir + "apiserver-etcd-client.key", pkiDir + "etcd/ca"},
	{"apiserver-kubelet-client", pkiDir + "apiserver-kubelet-client.crt", pkiDir + "apiserver-kubelet-client.key", pkiDir + "ca"},
	{"controller-manager.conf", kubernetesDir + "controller-manager.conf", "", pkiDir + "ca"},
	{"etcd-healthcheck-client", pkiDir + "etcd/healthcheck-client.crt", pkiDir + "etcd/healthcheck-client.key", pkiDir + "etcd/ca"},
	{"etcd-peer", pkiDir + "etcd/peer.crt", pkiDir + "etcd/peer.key", pkiDir + "etcd/ca"},
	{"etcd-server", pkiDir + "etcd/server.crt", pkiDir + "etcd/server.key", pkiDir + "etcd/ca"},
	{"front-proxy-client", pkiDir + "front-proxy-client.crt", pkiDir + "front-proxy-client.key", pkiDir + "front-proxy-ca"},
	{"scheduler.conf", kubernetesDir + "scheduler.conf", "", pkiDir + "ca"},
	{"super-admin.conf", kubernetesDir + "super-admin.conf", "", pkiDir + "ca"},
	{"kubelet-client", "/var/lib/kubelet/pki/kubelet-client-current.pem", "", pkiDir + "ca"},
}

// CertificateNames are the names that MintCertificates knows.
func CertificateNames() []string {
	var names []string
	for _, l := range leaves {
		names = append(names, l.name)
	}
	return names
}

// MintCertificates replaces certificates of the node by ones that its CA
// signs for the given time, past or future, with a new key and with subject,
// names and usages as they were. Files keep their mode and owner. Nothing is
// restarted; what reloads by itself will.
func (n *Node) MintCertificates(notBefore, notAfter time.Time, names ...string) error {
	for _, name := range names {
		i := slices.IndexFunc(leaves, func(l leaf) bool { return l.name == name })
		if i < 0 {
			return fmt.Errorf("mint %q: no such certificate, only %s", name, strings.Join(CertificateNames(), ", "))
		}
		if err := n.mint(leaves[i], notBefore, notAfter); err != nil {
			return fmt.Errorf("mint %s of %s: %w", name, n.Name(), err)
		}
	}
	return nil
}

func (n *Node) mint(l leaf, notBefore, notAfter time.Time) error {
	ca, err := n.readCA(l.ca)
	if err != nil {
		return err
	}
	old, err := n.ReadFile(l.file)
	if err != nil {
		return err
	}
	if strings.HasSuffix(l.file, ".conf") {
		text, err := remintKubeconfig(old, func(cert []byte) (pair, error) { return ca.remint(cert, notBefore, notAfter) })
		if err != nil {
			return err
		}
		return n.Overwrite(l.file, text)
	}
	fresh, err := ca.remint(old, notBefore, notAfter)
	if err != nil {
		return err
	}
	if l.key == "" {
		return n.Overwrite(l.file, append(fresh.cert, fresh.key...))
	}
	// The key first, as kubeadm does.
	if err := n.Overwrite(l.key, fresh.key); err != nil {
		return err
	}
	return n.Overwrite(l.file, fresh.cert)
}

func (n *Node) readCA(path string) (*authority, error) {
	cert, err := n.ReadFile(path + ".crt")
	if err != nil {
		return nil, err
	}
	key, err := n.ReadFile(path + ".key")
	if err != nil {
		return nil, err
	}
	ca, err := parseAuthority(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read the CA %s: %w", path, err)
	}
	return ca, nil
}
