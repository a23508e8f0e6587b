package renew_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// fakeCluster holds signing requests, and approves what it is told to.
type fakeCluster struct {
	list     []renew.SigningRequest
	asked    int
	approved []string
	err      error
}

func (f *fakeCluster) List(context.Context, string) ([]renew.SigningRequest, error) {
	f.asked++
	return f.list, f.err
}

func (f *fakeCluster) Approve(_ context.Context, name, _ string) error {
	f.approved = append(f.approved, name)
	i := slices.IndexFunc(f.list, func(r renew.SigningRequest) bool { return r.Name == name })
	f.list[i].Approved = true
	return nil
}

// signing makes a request as the kubelet of a node does, and changes it.
func signing(t *testing.T, node string, change func(*x509.CertificateRequest, *renew.SigningRequest)) renew.SigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := renew.SigningRequest{Name: "csr-1", Username: "system:node:" + node, Groups: []string{"system:nodes", "system:authenticated"},
		Usages: []string{"digital signature", "server auth"}, Created: time.Now()}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
		DNSNames: []string{node}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}}
	if change != nil {
		change(template, &r)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	if r.PEM == nil {
		r.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}
	return r
}

func ownIdentity() (renew.Identity, error) {
	return renew.Identity{Names: []string{"host"}, Addresses: []net.IP{net.IPv4(192, 0, 2, 1), net.IPv6loopback, net.IPv4(127, 0, 0, 1)}}, nil
}

func TestRefusalOfServingRequests(t *testing.T) {
	own, _ := ownIdentity()
	type csr = x509.CertificateRequest
	type req = renew.SigningRequest
	tests := []struct {
		name   string
		want   string // in the refusal; empty: none
		change func(*csr, *req)
	}{
		{"the kubelet's own", "", nil},
		{"the host's name beside the node's", "", func(c *csr, _ *req) { c.DNSNames = append(c.DNSNames, "HOST") }},
		{"of a kubelet with an RSA key", "", func(_ *csr, r *req) { r.Usages = append(r.Usages, "key encipherment") }},
		{"only an address", "", func(c *csr, _ *req) { c.DNSNames = nil }},
		{"made by somebody else", "it was made by system:admin", func(_ *csr, r *req) { r.Username = "system:admin" }},
		{"of no node", "not in the group system:nodes", func(_ *csr, r *req) { r.Groups = []string{"system:authenticated"} }},
		{"for another node", "its common name is", func(c *csr, _ *req) { c.Subject.CommonName = "system:node:cp2" }},
		{"for a master", "its subject is", func(c *csr, _ *req) { c.Subject.Organization = []string{"system:nodes", "system:masters"} }},
		{"for a master only", "its subject is", func(c *csr, _ *req) { c.Subject.Organization = []string{"system:masters"} }},
		{"with more in its subject", "its subject is", func(c *csr, _ *req) { c.Subject.Country = []string{"DE"} }},
		{"another's name", `the name "api" is not this host's`, func(c *csr, _ *req) { c.DNSNames = append(c.DNSNames, "api") }},
		{"a wildcard", "is not this host's", func(c *csr, _ *req) { c.DNSNames = []string{"*"} }},
		{"another's address", "the address 192.0.2.9 is not on an interface", func(c *csr, _ *req) { c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 9)} }},
		{"the address of everybody", "the address 127.0.0.1 is not", func(c *csr, _ *req) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }},
		{"nothing", "no name and no address", func(c *csr, _ *req) { c.DNSNames, c.IPAddresses = nil, nil }},
		{"an email address", "email addresses or URIs", func(c *csr, _ *req) { c.EmailAddresses = []string{"a@b"} }},
		{"a URI", "email addresses or URIs", func(c *csr, _ *req) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "a"}} }},
		{"a CA", "the extension 2.5.29.19", func(c *csr, _ *req) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 19}, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff}}}
		}},
		{"to be a client", "its usages are", func(_ *csr, r *req) { r.Usages = append(r.Usages, "client auth") }},
		{"to be nothing", "its usages are", func(_ *csr, r *req) { r.Usages = nil }},
		{"no request", "no single PEM block", func(_ *csr, r *req) { r.PEM = []byte("x") }},
		{"a torn request", "cannot be parsed", func(_ *csr, r *req) {
			r.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")})
		}},
		{"a weak key", "only 1024 bits", func(_ *csr, r *req) { r.PEM = weak(t) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := renew.Refusal(signing(t, "cp1", tt.change), "cp1", own)
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("refused with %q, want %q", got, tt.want)
			}
		})
	}
	two := signing(t, "cp1", nil)
	two.PEM = append(two.PEM, two.PEM...)
	if got := renew.Refusal(two, "cp1", own); !strings.Contains(got, "no single PEM block") {
		t.Errorf("two requests in one: %q", got)
	}
}

func weak(t *testing.T) []byte {
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// bootstrapping is a node whose kubelet asks the cluster for what it serves, and has
// nothing yet.
func bootstrapping(t *testing.T, cluster *fakeCluster) *fakeNode {
	n := newFakeNode(t)
	for _, name := range renewable {
		n.files.Issue(name, time.Now().Add(-pkitest.Day), time.Now().Add(364*pkitest.Day))
	}
	n.files.Touch(time.Now().Add(-360 * pkitest.Day))
	n.files.Write("/var/lib/kubelet/config.yaml", "serverTLSBootstrap: true\n")
	n.SigningRequests, n.Identity, n.ApproveServing = cluster, ownIdentity, true
	return n
}

// nodeName is what pkitest calls the node.
func nodeName(n *fakeNode) string {
	c, _ := n.ObserveDisk(time.Now()).Certificate("kubelet-client")
	return strings.TrimPrefix(c.Leaf.Subject.CommonName, "system:node:")
}

func TestServingRequestIsApproved(t *testing.T) {
	cluster := &fakeCluster{}
	n := bootstrapping(t, cluster)
	old := signing(t, nodeName(n), nil)
	old.Name, old.Created = "older", time.Now().Add(-time.Hour)
	cluster.list = []renew.SigningRequest{old, signing(t, nodeName(n), nil)}
	look := n.Look(t.Context(), renew.Wish{})
	if err := n.ApproveNow(t.Context(), look.Observation); err != nil {
		t.Fatal(err)
	}
	// The key of the older one is forgotten.
	if !slices.Equal(cluster.approved, []string{"csr-1"}) {
		t.Errorf("approved %q: %+v", cluster.approved, look.Observation.Serving)
	}
	if err := n.ApproveNow(t.Context(), n.Look(t.Context(), renew.Wish{}).Observation); err != nil || len(cluster.approved) != 1 {
		t.Errorf("approved again: %q, %v", cluster.approved, err)
	}
}

func TestServingRequestIsLeft(t *testing.T) {
	tests := map[string]func(*fakeNode, *fakeCluster){
		"not configured":  func(n *fakeNode, _ *fakeCluster) { n.ApproveServing = false },
		"paused":          func(n *fakeNode, _ *fakeCluster) { _ = n.State.Pause(renew.Pause{}) },
		"another's name":  func(_ *fakeNode, c *fakeCluster) { c.list[0] = signing(t, "other", nil) },
		"already denied":  func(_ *fakeNode, c *fakeCluster) { c.list[0].Denied = true },
		"cannot be asked": func(_ *fakeNode, c *fakeCluster) { c.err = errors.New("no answer") },
		"no identity": func(n *fakeNode, _ *fakeCluster) {
			n.Identity = func() (renew.Identity, error) { return renew.Identity{}, errors.New("no host") }
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			cluster := &fakeCluster{}
			n := bootstrapping(t, cluster)
			cluster.list = []renew.SigningRequest{signing(t, nodeName(n), nil)}
			change(n, cluster)
			if err := n.ApproveNow(t.Context(), n.Look(t.Context(), renew.Wish{}).Observation); err != nil || len(cluster.approved) > 0 {
				t.Errorf("approved %q, %v", cluster.approved, err)
			}
		})
	}
}

// Nobody is asked where the kubelet has what it needs, or signs it itself.
func TestServingRequestsCostNothing(t *testing.T) {
	cluster := &fakeCluster{}
	n := newFakeNode(t)
	n.SigningRequests = cluster
	n.Look(t.Context(), renew.Wish{})
	if cluster.asked > 0 {
		t.Error("the cluster was asked although the kubelet signs its own")
	}
	if n = bootstrapping(t, cluster); n.Look(t.Context(), renew.Wish{}).Plan.Next.After(time.Now().Add(2 * time.Minute)) {
		t.Error("what is missing is not looked at again soon")
	}
	if cluster.asked != 1 {
		t.Errorf("the cluster was asked %d times", cluster.asked)
	}
}
