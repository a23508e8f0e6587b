// Package pkitest makes the files of a kubeadm control-plane node for tests: real
// certificates, kubeconfigs and manifests under a temporary directory, so that
// nothing that expires is ever committed.
package pkitest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Day is 24 hours.
const Day = 24 * time.Hour

// Node is the file system of a node.
type Node struct {
	t testing.TB
	// Root is the directory that stands for /.
	Root string
	cas  map[string]ca
}

type ca struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// leaf is a certificate that kubeadm makes.
type leaf struct {
	name, file, ca string
	subject        pkix.Name
	server         bool
}

// kubernetes and kubelet are where files lie under the root.
const (
	kubernetes = "/etc/kubernetes/"
	pkiDir     = kubernetes + "pki/"
	kubelet    = "/var/lib/kubelet/"
)

var leaves = []leaf{
	{"admin.conf", kubernetes + "admin.conf", "ca", pkix.Name{CommonName: "kubernetes-admin", Organization: []string{"kubeadm:cluster-admins"}}, false},
	{"apiserver", pkiDir + "apiserver", "ca", pkix.Name{CommonName: "kube-apiserver"}, true},
	{"apiserver-etcd-client", pkiDir + "apiserver-etcd-client", "etcd-ca", pkix.Name{CommonName: "kube-apiserver-etcd-client"}, false},
	{"apiserver-kubelet-client", pkiDir + "apiserver-kubelet-client", "ca", pkix.Name{CommonName: "kube-apiserver-kubelet-client"}, false},
	{"controller-manager.conf", kubernetes + "controller-manager.conf", "ca", pkix.Name{CommonName: "system:kube-controller-manager"}, false},
	{"etcd-healthcheck-client", pkiDir + "etcd/healthcheck-client", "etcd-ca", pkix.Name{CommonName: "kube-etcd-healthcheck-client"}, false},
	{"etcd-peer", pkiDir + "etcd/peer", "etcd-ca", pkix.Name{CommonName: "cp1"}, true},
	{"etcd-server", pkiDir + "etcd/server", "etcd-ca", pkix.Name{CommonName: "cp1"}, true},
	{"front-proxy-client", pkiDir + "front-proxy-client", "front-proxy-ca", pkix.Name{CommonName: "front-proxy-client"}, false},
	{"scheduler.conf", kubernetes + "scheduler.conf", "ca", pkix.Name{CommonName: "system:kube-scheduler"}, false},
	{"super-admin.conf", kubernetes + "super-admin.conf", "ca", pkix.Name{CommonName: "kubernetes-super-admin", Organization: []string{"system:masters"}}, false},
	{"kubelet-client", kubelet + "pki/kubelet-client-current.pem", "ca", pkix.Name{CommonName: "system:node:cp1", Organization: []string{"system:nodes"}}, false},
	{"kubelet-server", kubelet + "pki/kubelet", "", pkix.Name{CommonName: "cp1@1"}, true},
}

var caFiles = map[string]string{"ca": pkiDir + "ca", "etcd-ca": pkiDir + "etcd/ca", "front-proxy-ca": pkiDir + "front-proxy-ca"}

// New makes a control-plane node with stacked etcd as `kubeadm init` leaves it:
// CAs of ten years and leaves of one, all issued at the given time.
func New(t testing.TB, issued time.Time) *Node {
	t.Helper()
	n := &Node{t: t, Root: t.TempDir(), cas: map[string]ca{}}
	for name := range caFiles {
		n.CA(name, issued, issued.Add(3650*Day))
	}
	for _, l := range leaves {
		n.Issue(l.name, issued, issued.Add(365*Day))
	}
	for name, manifest := range manifests {
		n.Write(kubernetes+"manifests/"+name+".yaml", manifest)
	}
	n.Write(kubelet+"config.yaml", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nstaticPodPath: /etc/kubernetes/manifests\nrotateCertificates: true\n")
	n.Write(kubernetes+"kubelet.conf", n.kubeconfig(fmt.Sprintf("client-certificate: %[1]s\n    client-key: %[1]s", kubelet+"pki/kubelet-client-current.pem")))
	// Files as old as their certificates, as on a node that nobody touched since.
	n.Touch(issued)
	return n
}

// CA makes a CA anew, key and all.
func (n *Node) CA(name string, notBefore, notAfter time.Time) {
	n.t.Helper()
	c, key := n.sign(nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: notBefore, NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	n.cas[name] = ca{c, key}
	n.Write(caFiles[name]+".crt", encode(c))
	n.Write(caFiles[name]+".key", encodeKey(n.t, key))
}

// Issue makes one leaf anew, as kubeadm does: a new key, written before the
// certificate, both in place.
func (n *Node) Issue(name string, notBefore, notAfter time.Time) *x509.Certificate {
	n.t.Helper()
	return n.IssueWith(name, func(template *x509.Certificate) { template.NotBefore, template.NotAfter = notBefore, notAfter })
}

// IssueWith makes one leaf anew from a template that the caller may change.
func (n *Node) IssueWith(name string, change func(*x509.Certificate)) *x509.Certificate {
	n.t.Helper()
	l := find(n.t, name)
	template := &x509.Certificate{Subject: l.subject, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if l.server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		template.DNSNames = []string{"cp1", "localhost", "kubernetes"}
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(192, 0, 2, 11)}
	}
	change(template)
	var signer *ca
	if authority, ok := n.cas[l.ca]; ok {
		signer = &authority
	}
	c, key := n.sign(signer, template)
	switch {
	case strings.HasSuffix(l.file, ".conf"):
		n.Write(l.file, n.kubeconfig(fmt.Sprintf("client-certificate-data: %s\n    client-key-data: %s", data(encode(c)), data(encodeKey(n.t, key)))))
	case strings.HasSuffix(l.file, ".pem"):
		// The kubelet's rotated file, behind a link, as its store keeps it.
		dated := strings.Replace(l.file, "current", notBeforeName(c), 1)
		n.Write(dated, encode(c)+encodeKey(n.t, key))
		link := n.Path(l.file)
		_ = os.Remove(link)
		if err := os.Symlink(dated, link); err != nil {
			n.t.Fatal(err)
		}
	default:
		n.Write(l.file+".key", encodeKey(n.t, key))
		n.Write(l.file+".crt", encode(c))
	}
	return c
}

// Embedded is a kubeconfig with a certificate of the cluster's CA for the kubelet of a
// node in it, as `kubeadm kubeconfig user` prints it. Nothing is written.
func (n *Node) Embedded(node string, notBefore, notAfter time.Time) string {
	n.t.Helper()
	signer := n.cas["ca"]
	c, key := n.sign(&signer, &x509.Certificate{Subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
		NotBefore: notBefore, NotAfter: notAfter, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return n.kubeconfig(fmt.Sprintf("client-certificate-data: %s\n    client-key-data: %s", data(encode(c)), data(encodeKey(n.t, key))))
}

// IssueThrough makes one PEM leaf anew, signed by an intermediate that the leaf's CA
// signed, and writes both into the leaf's file, as those do who keep the CA itself
// off the nodes (kubeadm: util/pkiutil/pki_helpers.go, VerifyCertChain).
func (n *Node) IssueThrough(name string, notBefore, notAfter time.Time) {
	n.t.Helper()
	l := find(n.t, name)
	root := n.cas[l.ca]
	between, key := n.sign(&root, &x509.Certificate{
		Subject: pkix.Name{CommonName: l.ca + " intermediate"}, NotBefore: notBefore, NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	n.cas[l.ca] = ca{between, key}
	c := n.Issue(name, notBefore, notAfter)
	n.cas[l.ca] = root
	n.Write(l.file+".crt", encode(c)+encode(between))
}

// SelfSigned replaces the certificate of a leaf by one that the given key signs for
// itself, valid from now for a year; the key's file is the caller's to write.
func (n *Node) SelfSigned(name string, key crypto.Signer) {
	n.t.Helper()
	old, err := os.ReadFile(n.Certificate(name))
	if err != nil {
		n.t.Fatal(err)
	}
	block, _ := pem.Decode(old)
	template, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		n.t.Fatal(err)
	}
	fresh := &x509.Certificate{SerialNumber: template.SerialNumber, Subject: template.Subject, NotBefore: template.NotBefore, NotAfter: template.NotAfter}
	der, err := x509.CreateCertificate(rand.Reader, fresh, fresh, key.Public(), key)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(n.Certificate(name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// Certificate and Key are the host paths of a leaf or CA; the same for one that is
// embedded.
func (n *Node) Certificate(name string) string { return n.file(name, ".crt") }

// Key is the path of the key of a leaf or CA.
func (n *Node) Key(name string) string { return n.file(name, ".key") }

func (n *Node) file(name, suffix string) string {
	if file, ok := caFiles[name]; ok {
		return n.Path(file + suffix)
	}
	l := find(n.t, name)
	if strings.HasSuffix(l.file, ".conf") || strings.HasSuffix(l.file, ".pem") {
		return n.Path(l.file)
	}
	return n.Path(l.file + suffix)
}

// Path is a path of the node on this host.
func (n *Node) Path(path string) string { return filepath.Join(n.Root, path) }

// Write writes a file of the node, private where it holds a key.
func (n *Node) Write(path, content string) {
	n.t.Helper()
	name := n.Path(path)
	mode := os.FileMode(0o644)
	if strings.Contains(content, "PRIVATE KEY") || strings.Contains(content, "client-key-data") {
		mode = 0o600
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		n.t.Fatal(err)
	}
}

// Remove removes a file of the node.
func (n *Node) Remove(hostPath string) {
	n.t.Helper()
	if err := os.Remove(hostPath); err != nil {
		n.t.Fatal(err)
	}
}

// Touch sets the time of every file.
func (n *Node) Touch(when time.Time) {
	n.t.Helper()
	err := filepath.WalkDir(n.Root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return os.Chtimes(path, when, when)
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// sign makes a key and a certificate for it, signed by the CA or by itself.
func (n *Node) sign(by *ca, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	n.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		n.t.Fatal(err)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		n.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		n.t.Fatal(err)
	}
	return c, key
}

func (n *Node) kubeconfig(user string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: kubernetes
  cluster:
    server: https://api:6443
    certificate-authority-data: %s
contexts:
- name: user@kubernetes
  context:
    cluster: kubernetes
    user: user
current-context: user@kubernetes
users:
- name: user
  user:
    %s
`, data(encode(n.cas["ca"].certificate)), user)
}

func find(t testing.TB, name string) leaf {
	t.Helper()
	for _, l := range leaves {
		if l.name == name {
			return l
		}
	}
	t.Fatalf("pkitest: no certificate %q", name)
	return leaf{}
}

func notBeforeName(c *x509.Certificate) string {
	return c.NotBefore.UTC().Format("2006-01-02-15-04-05") + "-" + c.SerialNumber.Text(16)
}

func data(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func encode(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func encodeKey(t testing.TB, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}
