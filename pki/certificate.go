// Package pki says which certificates this node has and what its ports serve.
//
// It reads and never writes: nothing in this package can change a node. What
// is to be done about what it finds is decided in package renew.
package pki

import (
	"crypto/x509"
	"time"
)

// State is the one word for how a certificate stands.
type State string

// The states. A certificate is in exactly one of them, the first that applies
// in this order: missing, invalid, expired, external, due, ok. Expired comes
// before external so that an alarm on "expired" sees every certificate that no
// longer works, whoever has to renew it.
const (
	// OK is a certificate that is valid and not yet due.
	OK State = "ok"
	// Due is a certificate whose renewal threshold has passed. It depends on the
	// policy, so package renew decides it; Read never returns it.
	Due State = "due"
	// Expired is a certificate whose not-after has passed.
	Expired State = "expired"
	// Missing is a file that is not there. An optional one is never due.
	Missing State = "missing"
	// External is a certificate whose CA key is not on this node.
	External State = "external"
	// Invalid is a certificate that cannot be used: unreadable, key mismatch, not
	// signed by its CA, not yet valid.
	Invalid State = "invalid"
	// Unknown is a certificate in memory whose process could not be asked.
	Unknown State = "unknown"
)

// Kind says in what a certificate is kept.
type Kind string

const (
	// PEM is a certificate file with its key beside it or in it.
	PEM Kind = "pem"
	// Kubeconfig is a kubeconfig's client certificate, embedded or named by path.
	Kubeconfig Kind = "kubeconfig"
	// CA is a certificate authority: watched, never renewed.
	CA Kind = "ca"
	// Memory is a certificate that exists only inside the process that made it.
	Memory Kind = "memory"
)

// Renewer says who writes a new certificate when the old one comes to its end.
type Renewer string

const (
	// Kubeadm renews by `kubeadm certs renew NAME`
	// (kubeadm: phases/certs/renewal/manager.go).
	Kubeadm Renewer = "kubeadm"
	// Kubelet renews by itself through certificate signing requests
	// (client-go: util/certificate/certificate_manager.go).
	Kubelet Renewer = "kubelet"
	// Restart renews: the process makes a new one when it starts. The kubelet does so
	// only where its files are not there (kubelet: cmd/kubelet/app/server.go).
	Restart Renewer = "restart"
	// Nobody renews: CAs, and files that come from where kubeadm does not write.
	Nobody Renewer = "nobody"
)

// Certificate is one X.509 certificate of this node under the name that kubeadm
// gives it.
type Certificate struct {
	Name    string  `json:"name"`
	Kind    Kind    `json:"kind"`
	Renewer Renewer `json:"renewer"`
	// Component is the process that made a certificate in memory, Address where it
	// shows it; both are empty for files.
	Component string `json:"component,omitempty"`
	Address   string `json:"address,omitempty"`
	// Path is the file on the host, without the root prefix; empty for one in memory. KeyPath is the same
	// file where the key is embedded, and empty where no key is expected or what is
	// in its place cannot be read. A key that is gone has its path here.
	Path    string `json:"path"`
	KeyPath string `json:"keyPath,omitempty"`
	// CA is the name of the certificate's authority (ca, etcd-ca, front-proxy-ca);
	// empty for self-signed certificates, and for those that somebody else's signed.
	CA string `json:"ca,omitempty"`
	// Optional files may be missing on a healthy node (super-admin.conf where the
	// node joined; kubelet-server without serverTLSBootstrap).
	Optional bool `json:"optional,omitempty"`
	// Watched says that the configuration names its file, or a directory above it: it is
	// shown and alarmed, and nothing else is done for it. Its name is its path.
	Watched bool `json:"watched,omitempty"`
	// Server is the API server that a kubeconfig names, without its password.
	Server string `json:"server,omitempty"`
	// User is the name of a kubeconfig's user that the certificate is for.
	User string `json:"user,omitempty"`

	Subject  string   `json:"subject,omitempty"`
	Issuer   string   `json:"issuer,omitempty"`
	Serial   string   `json:"serial,omitempty"` // lower-case hex, no separators
	SHA256   string   `json:"sha256,omitempty"` // of the leaf's DER, lower-case hex
	DNSNames []string `json:"dnsNames,omitempty"`
	IPs      []string `json:"ips,omitempty"`
	// URIs and Emails are lost when kubeadm renews (kubeadm:
	// phases/certs/renewal/manager.go, certToConfig).
	URIs      []string  `json:"uris,omitempty"`
	Emails    []string  `json:"emails,omitempty"`
	Usages    []string  `json:"usages,omitempty"` // "server auth", "client auth", …
	NotBefore time.Time `json:"notBefore,omitzero"`
	NotAfter  time.Time `json:"notAfter,omitzero"`
	// Issued is the best estimate of when the certificate was issued: NotBefore,
	// except where kubeadm copied that from the CA into a kubeconfig
	// (kubernetes#113618), then NotAfter less the validity of the node's other
	// certificates; and where a process signed it itself, which writes the time into
	// its name (client-go: util/cert/cert.go).
	Issued time.Time `json:"issued,omitzero"`
	// KeyMatches says that the private key beside the certificate belongs to it.
	// It is false where there is no key to compare.
	KeyMatches bool `json:"keyMatches"`
	// CAKeyHere says that the authority's key is on this node and matches it, so
	// that the certificate can be renewed here.
	CAKeyHere bool `json:"caKeyHere"`
	// Signer is the SHA-256 of that certificate of its CA's which signed it; empty when it
	// is none of them.
	Signer string `json:"-"`
	// Bundle are, in a CA's file, the certificates after the first: a rotation of the CA is
	// under way. The first is what signs.
	Bundle []Trusted `json:"bundle,omitempty"`
	// Changed is when the file (or the file it points at) was last written.
	Changed time.Time `json:"changed,omitzero"`
	// Touched is when its inode last changed: by a write, but also by chmod, chown or a
	// new link. No program can set it (inode(7)).
	Touched time.Time `json:"-"`

	State  State  `json:"state"`
	Reason string `json:"reason"` // one sentence a person can read; never key material

	// Kubelet is how the kubelet comes by it; nil for all but kubelet-client.
	Kubelet *KubeletClient `json:"kubelet,omitempty"`

	// Leaf is the parsed certificate; nil when missing or unreadable.
	Leaf *x509.Certificate `json:"-"`
}

// Trusted is a further certificate of a CA's file.
type Trusted struct {
	Subject  string    `json:"subject"`
	SHA256   string    `json:"sha256"`
	NotAfter time.Time `json:"notAfter"`
}

// Remaining is the time from now until the certificate's end, negative when it
// has passed, and zero when there is no certificate.
func (c Certificate) Remaining(now time.Time) time.Duration {
	if c.NotAfter.IsZero() {
		return 0
	}
	return c.NotAfter.Sub(now)
}
