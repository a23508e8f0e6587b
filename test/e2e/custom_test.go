//go:build linux

package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
	"github.com/kubecertd/kubecertd/test/story"
)

// customDir is where the certificates of a cluster lie whose owners wanted it so.
const customDir = "/etc/kubernetes/certificates"

// While the API server takes every question and answers none, certificates are renewed as
// the cluster is configured: in its own directory, with keys of its algorithm, for as long
// as it says. With what was remembered of that, and with what the node itself tells.
func TestTheConfigurationIsKept(t *testing.T) {
	onlySoaked(t)
	n := prepare(t, story.LabOf(t, controlplane.Options{Name: "e2e-custom", CertificatesDir: customDir, Algorithm: "ECDSA-P256", Validity: 24 * time.Hour}).Nodes[0])
	// What the new ones look like is asked; they would not be loaded without the API.
	n.Configure(t, "renew: {before: 8h}\nrestart: {policy: never}\n")
	const remembered, rebuilt = story.StateDir + "/cluster-configuration.yaml", story.StateDir + "/cluster-configuration-rebuilt.yaml"
	for _, tt := range []struct{ name, kept, gone string }{
		{"never read", rebuilt, remembered},
		{"remembered", remembered, rebuilt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.MustRun(t, "rm", "-f", rebuilt)
			if tt.kept == remembered {
				n.Start(t)
				story.Eventually(t, 30*time.Second, func() error { _, err := n.Try("test", "-e", remembered); return err })
				n.MustRun(t, "systemctl", "stop", "kubecertd")
			} else {
				n.MustRun(t, "rm", "-f", remembered)
			}
			before := n.customLeaves(t)
			thaw := n.silence(t)
			began := time.Now()
			said := n.MustRun(t, "kubecertd", "renew", "--all")
			t.Logf("with an API server that does not answer, after %s: %s", time.Since(began).Round(100*time.Millisecond), said)
			thaw()

			n.MustRun(t, "test", "-e", tt.kept)
			n.gone(t, tt.gone)
			n.gone(t, "/etc/kubernetes/pki")
			after := n.customLeaves(t)
			for name, leaf := range after {
				old := before[name]
				if old == nil || leaf.Equal(old) {
					t.Errorf("%s was not renewed", name)
				}
				key, isECDSA := leaf.PublicKey.(*ecdsa.PublicKey)
				if !isECDSA || key.Curve != elliptic.P256() {
					t.Errorf("the key of %s is %T, want ECDSA-P256", name, leaf.PublicKey)
				}
				// kubeadm sets the beginning five minutes back.
				if left := time.Until(leaf.NotAfter); left < 23*time.Hour || left > 24*time.Hour {
					t.Errorf("%s is valid for %s more, want 24h", name, left)
				}
			}
			if len(after) != len(story.CertificateFiles) {
				t.Errorf("%d certificates, want %d", len(after), len(story.CertificateFiles))
			}
			if err := n.WaitHealthy(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// silence makes the API server of the node take every question and answer none, until
// what it returns is called.
func (n *node) silence(t *testing.T) (thaw func()) {
	t.Helper()
	pid, err := n.Pid("kube-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Freeze(t.Context(), pid); err != nil {
		t.Fatal(err)
	}
	thaw = func() {
		// Also while the test is cleaned up.
		if err := n.Thaw(context.WithoutCancel(t.Context()), pid); err != nil {
			t.Error(err)
		}
	}
	return thaw
}

// inKubeconfig is the certificate in a kubeconfig.
var inKubeconfig = regexp.MustCompile(`client-certificate-data: (\S+)`)

// customLeaves are the certificates that kubeadm renews, where they lie here.
func (n *node) customLeaves(t *testing.T) map[string]*x509.Certificate {
	t.Helper()
	leaves := map[string]*x509.Certificate{}
	for name, files := range story.CertificateFiles {
		path := files[0]
		if inside, ok := strings.CutPrefix(path, "/etc/kubernetes/pki/"); ok {
			path = filepath.Join(customDir, inside)
		}
		data := []byte(n.Read(t, path))
		if found := inKubeconfig.FindSubmatch(data); found != nil {
			var err error
			if data, err = base64.StdEncoding.DecodeString(string(found[1])); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
		block, _ := pem.Decode(data)
		if block == nil {
			t.Fatalf("%s holds no PEM", path)
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		leaves[name] = leaf
	}
	return leaves
}

// No look waits for an API server that takes every question and answers none for longer
// than each question has.
func TestSilentAPIServer(t *testing.T) {
	n := onNode(t)
	before := n.Observe(t)
	t.Cleanup(n.silence(t))
	for _, argv := range [][]string{
		{"kubecertd", "status"},
		{"kubecertd", "plan"},
		{"systemctl", "start", "kubecertd"}, // which returns after the first look
	} {
		began := time.Now()
		n.MustRun(t, argv...)
		took := time.Since(began)
		t.Logf("%s took %s", strings.Join(argv, " "), took.Round(100*time.Millisecond))
		if took > 15*time.Second {
			t.Errorf("%s took %s", strings.Join(argv, " "), took)
		}
	}
	n.Untouched(t, before)
}
