//go:build linux

package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

const (
	kubectl       = "kubectl --kubeconfig=/etc/kubernetes/admin.conf "
	kubeletConfig = "/var/lib/kubelet/config.yaml"
	current       = "/var/lib/kubelet/pki/kubelet-server-current.pem"
)

// bootstrapping has the kubelet ask the cluster for what it serves.
func bootstrapping(t *testing.T, n *node) {
	t.Helper()
	was := n.Read(t, kubeletConfig)
	n.Write(t, kubeletConfig, was+"\nserverTLSBootstrap: true\n", 0o644)
	t.Cleanup(func() {
		n.Write(t, kubeletConfig, was, 0o644)
		n.MustRun(t, "sh", "-c", "rm -f /var/lib/kubelet/pki/kubelet-server-*; "+kubectl+"delete csr --all; systemctl restart kubelet")
	})
	n.MustRun(t, "sh", "-c", kubectl+"delete csr --all; systemctl restart kubelet")
	story.Eventually(t, time.Minute, func() error {
		list := n.MustRun(t, "sh", "-c", kubectl+"get csr --field-selector=spec.signerName=kubernetes.io/kubelet-serving -o name")
		if strings.TrimSpace(list) == "" {
			return errors.New("the kubelet has not asked")
		}
		return nil
	})
}

// What the kubelet asks for is seen, approving it is left to a person, and said with the
// command; what was denied is said, too.
func TestServingRequestIsSeen(t *testing.T) {
	n := onNode(t)
	bootstrapping(t, n)
	n.Start(t)
	n.AwaitSaid(t, 30*time.Second, renew.EventNotice, "waits for somebody to approve it")
	found, code, _ := diagnosis(t, n)
	i := slices.IndexFunc(found, func(f renew.Finding) bool { return f.ID == "csr-pending" })
	if i < 0 || code != 1 {
		t.Fatalf("exit code %d: %+v", code, found)
	}
	command := strings.TrimSpace(found[i].Remedy)
	name := command[strings.LastIndex(command, " ")+1:]
	n.MustRun(t, "sh", "-c", kubectl+"certificate deny "+name)
	story.Eventually(t, 20*time.Second, func() error {
		// The kubelet may have asked again.
		found, _, _ := diagnosis(t, n)
		if !slices.ContainsFunc(found, func(f renew.Finding) bool {
			return f.ID == "csr-denied" || f.ID == "csr-pending" && !strings.Contains(f.Found, name)
		}) {
			return fmt.Errorf("what was denied is not said: %+v", found)
		}
		return nil
	})
}

// With the setting on, the node's own request is approved, and the kubelet serves what
// was signed.
func TestServingRequestIsApproved(t *testing.T) {
	n := onNode(t)
	n.Configure(t, "kubelet: {approveServing: true}\n")
	bootstrapping(t, n)
	began := time.Now()
	n.Start(t)
	n.AwaitEvent(t, 30*time.Second, renew.EventApproved)
	story.Eventually(t, time.Minute, func() error {
		_, err := n.Try("test", "-e", current)
		return err
	})
	t.Logf("the kubelet has its certificate %s after the start of the daemon", time.Since(began).Round(100*time.Millisecond))
	story.Eventually(t, 30*time.Second, n.Settled)
	if leaf, err := n.Served(t.Context(), "10250"); err != nil || !slices.Contains(leaf.Subject.Organization, "system:nodes") {
		t.Errorf("served on 10250: %v, %v", leaf, err)
	}
}

// What the kubelet signed itself has run out: it would go on with that for ever.
func TestKubeletServingExpired(t *testing.T) {
	n := onNode(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Add(-366 * 24 * time.Hour)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: fmt.Sprintf("%s@%d", n.Name(), start.Unix())},
		NotBefore: start, NotAfter: start.Add(365 * 24 * time.Hour), DNSNames: []string{n.Name()}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	n.Write(t, "/var/lib/kubelet/pki/kubelet.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o644)
	n.Write(t, "/var/lib/kubelet/pki/kubelet.key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})), 0o600)
	n.MustRun(t, "systemctl", "restart", "kubelet")
	story.Eventually(t, time.Minute, func() error { return n.Serves(t, "10250", "kubelet-server") })
	before := n.Observe(t)

	began := time.Now()
	n.Start(t)
	n.AwaitDone(t, 2*time.Minute)
	t.Logf("it was made anew %s after the start of the daemon", time.Since(began).Round(100*time.Millisecond))
	if err := n.Serves(t, "10250", "kubelet-server"); err != nil {
		t.Error(err)
	}
	if now := n.Leaf(t, "kubelet-server"); !now.NotAfter.After(time.Now().Add(300 * 24 * time.Hour)) {
		t.Errorf("it ends %s", now.NotAfter)
	}
	n.RestartedOnce(t, before)
	story.Eventually(t, 30*time.Second, n.Settled)
}
