//go:build linux

package story

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

// CertificateFiles are the certificates that kubeadm renews on a node with its own
// etcd, by its names for them (kubeadm: phases/certs/renewal/manager.go), and the
// files that hold certificate and key.
var CertificateFiles = map[string][]string{
	"admin.conf":               {"/etc/kubernetes/admin.conf"},
	"apiserver":                {"/etc/kubernetes/pki/apiserver.crt", "/etc/kubernetes/pki/apiserver.key"},
	"apiserver-etcd-client":    {"/etc/kubernetes/pki/apiserver-etcd-client.crt", "/etc/kubernetes/pki/apiserver-etcd-client.key"},
	"apiserver-kubelet-client": {"/etc/kubernetes/pki/apiserver-kubelet-client.crt", "/etc/kubernetes/pki/apiserver-kubelet-client.key"},
	"controller-manager.conf":  {"/etc/kubernetes/controller-manager.conf"},
	"etcd-healthcheck-client":  {"/etc/kubernetes/pki/etcd/healthcheck-client.crt", "/etc/kubernetes/pki/etcd/healthcheck-client.key"},
	"etcd-peer":                {"/etc/kubernetes/pki/etcd/peer.crt", "/etc/kubernetes/pki/etcd/peer.key"},
	"etcd-server":              {"/etc/kubernetes/pki/etcd/server.crt", "/etc/kubernetes/pki/etcd/server.key"},
	"front-proxy-client":       {"/etc/kubernetes/pki/front-proxy-client.crt", "/etc/kubernetes/pki/front-proxy-client.key"},
	"scheduler.conf":           {"/etc/kubernetes/scheduler.conf"},
	"super-admin.conf":         {"/etc/kubernetes/super-admin.conf"},
}

// kubeletFiles are the certificates that the kubelet makes for itself, with their keys.
var kubeletFiles = map[string]string{
	"kubelet-client": "/var/lib/kubelet/pki/kubelet-client-current.pem",
	"kubelet-server": "/var/lib/kubelet/pki/kubelet.crt",
}

// Leaf reads a certificate from the node's disk.
func (n *Node) Leaf(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	path := kubeletFiles[name]
	if path == "" {
		path = CertificateFiles[name][0]
	}
	data := []byte(n.Read(t, path))
	if strings.HasSuffix(name, ".conf") {
		var kubeconfig struct {
			Users []struct {
				User struct {
					Data string `json:"client-certificate-data"`
				} `json:"user"`
			} `json:"users"`
		}
		if err := yaml.Unmarshal(data, &kubeconfig); err != nil || len(kubeconfig.Users) != 1 {
			t.Fatalf("%s: %d users (%v)", name, len(kubeconfig.Users), err)
		}
		var err error
		if data, err = base64.StdEncoding.DecodeString(kubeconfig.Users[0].User.Data); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("%s holds no PEM", name)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return leaf
}

// Leaves reads certificates from the node's disk.
func (n *Node) Leaves(t *testing.T, names ...string) map[string]*x509.Certificate {
	t.Helper()
	all := map[string]*x509.Certificate{}
	for _, name := range names {
		all[name] = n.Leaf(t, name)
	}
	return all
}

// Serials are what tells certificates apart.
func Serials(leaves map[string]*x509.Certificate) map[string]string {
	list := map[string]string{}
	for name, leaf := range leaves {
		list[name] = fmt.Sprintf("%x", leaf.SerialNumber)
	}
	return list
}

// Served is the leaf that a port of the node serves on the address that its peers use.
func (n *Node) Served(ctx context.Context, port string) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := n.DialContext(ctx, "tcp", net.JoinHostPort(n.Address(), port))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	var leaf *x509.Certificate
	client := tls.Client(conn, &tls.Config{
		InsecureSkipVerify: true, // what is served is asked, not whether it is believed
		VerifyConnection: func(state tls.ConnectionState) error {
			leaf = state.PeerCertificates[0]
			return nil
		},
	})
	// etcd refuses clients without a certificate, but only after it has shown its own.
	if err := client.HandshakeContext(ctx); leaf == nil {
		return nil, fmt.Errorf("port %s: %w", port, err)
	}
	return leaf, nil
}

// Serves says whether a port serves the certificate that is on disk.
func (n *Node) Serves(t *testing.T, port, name string) error {
	t.Helper()
	leaf, err := n.Served(t.Context(), port)
	if err != nil {
		return err
	}
	if want := n.Leaf(t, name); !leaf.Equal(want) {
		return fmt.Errorf("port %s serves serial %x until %s, and %s on disk is %x until %s",
			port, leaf.SerialNumber, leaf.NotAfter, name, want.SerialNumber, want.NotAfter)
	}
	return nil
}

// Age makes certificates as old as time would have: signed 355 days ago, for ten days
// more, and written then, long before any process of the node started. What the daemon
// remembers of the ones before goes with them.
func (n *Node) Age(t *testing.T, names ...string) {
	t.Helper()
	if err := Age(n.Node, names...); err != nil {
		t.Fatal(err)
	}
}

// Age is what the method of this name does, for those who are no test.
func Age(n *controlplane.Node, names ...string) error {
	issued := time.Now().Add(-355 * 24 * time.Hour)
	for _, name := range names {
		// Each by itself, so that a daemon that is woken by it does not see a file that is
		// as new as it looks.
		if err := n.MintCertificates(issued, issued.Add(365*24*time.Hour), name); err != nil {
			return err
		}
		for _, path := range CertificateFiles[name] {
			if err := os.Chtimes(filepath.Join(n.Root(), path), issued, issued); err != nil {
				return err
			}
		}
		if err := os.Remove(filepath.Join(n.Root(), "/var/lib/kubecertd/ledger.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Expire replaces certificates by ones that ran out a day ago, after a year. What the
// daemon remembers of the ones before goes with them.
func (n *Node) Expire(t *testing.T, names ...string) {
	t.Helper()
	ended := time.Now().Add(-24 * time.Hour)
	if err := n.MintCertificates(ended.Add(-365*24*time.Hour), ended, names...); err != nil {
		t.Fatal(err)
	}
	n.MustRun(t, "rm", "-f", StateDir+"/ledger.json")
}

// Renewed says whether a certificate that was aged is a new one.
func (n *Node) Renewed(t *testing.T, name string) bool {
	t.Helper()
	return n.Leaf(t, name).NotAfter.After(time.Now().Add(300 * 24 * time.Hour))
}

// FileState is what changes when a file is written, replaced or touched.
type FileState struct {
	Inode           uint64
	Size            int64
	Mode            fs.FileMode
	Written, Change syscall.Timespec
}

// Files are all files that a renewal could change, with their state.
func (n *Node) Files(t *testing.T) map[string]FileState {
	t.Helper()
	states := map[string]FileState{}
	for _, dir := range []string{"etc/kubernetes", "var/lib/kubelet/pki"} {
		err := filepath.WalkDir(filepath.Join(n.Root(), dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			stat, ok := info.Sys().(*syscall.Stat_t)
			if !ok {
				return errors.New("the host does not tell inodes")
			}
			states[strings.TrimPrefix(path, n.Root())] = FileState{stat.Ino, info.Size(), info.Mode(), stat.Mtim, stat.Ctim}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(states) < 25 {
		t.Fatalf("only %d files are seen: a node has more", len(states))
	}
	return states
}
