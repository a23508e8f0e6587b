package renew

import (
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kubecertd/kubecertd/pki"
)

// kubeadm is made to issue no leaf that outlives its CA, and is given the cluster's
// own words otherwise.
func TestCappedByItsCA(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name, configuration string
		left                time.Duration // of the CA
		want                string        // the validity that kubeadm is given; "" is what the cluster says
	}{
		{"a CA that lives long", "apiVersion: kubeadm.k8s.io/v1beta4\n", 3650 * day, ""},
		{"a CA that ends before a year is over", "apiVersion: kubeadm.k8s.io/v1beta4\n", 100 * day, "2399h59m0s"},
		{"a shorter validity fits", "apiVersion: kubeadm.k8s.io/v1beta4\ncertificateValidityPeriod: 24h0m0s\n", 100 * day, ""},
		{"a longer validity does not", "apiVersion: kubeadm.k8s.io/v1beta4\ncertificateValidityPeriod: 87600h0m0s\n", 400 * day, "9599h59m0s"},
		{"a version that cannot say it", "apiVersion: kubeadm.k8s.io/v1beta3\n", 100 * day, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := emptyNode(t, State{Dir: t.TempDir()})
			n.Now, n.Kubeadm.Timeout = func() time.Time { return now }, time.Minute
			if err := n.State.write(configurationFile, []byte(tt.configuration+"kind: ClusterConfiguration\nkubernetesVersion: v1.36.3\nclusterName: mine\n")); err != nil {
				t.Fatal(err)
			}
			c, err := n.configuration()
			if err != nil {
				t.Fatal(err)
			}
			capped, err := n.cappedBy(c, pki.Certificate{Leaf: &x509.Certificate{}, NotAfter: now.Add(tt.left)})
			if err != nil {
				t.Fatal(err)
			}
			if (capped.Path == c.Path) != (tt.want == "") {
				t.Fatalf("kubeadm is given %s", capped.Path)
			}
			if tt.want == "" {
				return
			}
			content, err := os.ReadFile(capped.Path)
			var fields map[string]string
			if err != nil || yaml.Unmarshal(content, &fields) != nil || fields["certificateValidityPeriod"] != tt.want || fields["clusterName"] != "mine" {
				t.Errorf("kubeadm is given %s, %v; want %s", content, err, tt.want)
			}
		})
	}
}

func TestConfigurationAlgorithm(t *testing.T) {
	for content, want := range map[string]string{
		"apiVersion: kubeadm.k8s.io/v1beta4\n":                                         "RSA-2048",
		"apiVersion: kubeadm.k8s.io/v1beta4\nencryptionAlgorithm: ECDSA-P384\n":        "ECDSA-P384",
		"apiVersion: kubeadm.k8s.io/v1beta3\nfeatureGates: {PublicKeysECDSA: true}\n":  "ECDSA-P256",
		"apiVersion: kubeadm.k8s.io/v1beta3\nfeatureGates: {PublicKeysECDSA: false}\n": "RSA-2048",
	} {
		n := emptyNode(t, State{Dir: t.TempDir()})
		if err := n.State.write(configurationFile, []byte(content+"kind: ClusterConfiguration\nkubernetesVersion: v1.36.3\n")); err != nil {
			t.Fatal(err)
		}
		if c, err := n.configuration(); err != nil || c.Algorithm != want {
			t.Errorf("%s: %s, %v; want %s", content, c.Algorithm, err, want)
		}
	}
}

// A leaf that will end with its CA, or be said to outlive it, is announced.
func TestLeafThatWouldOutliveItsCA(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name           string
		left           time.Duration // of the CA
		caps           bool
		reason, notice string
	}{
		{"a CA of years", 3 * 365 * day, true, "due", ""},
		{"kubeadm is told", 100 * day, true, "due; the new one ends with its CA ca, 2026-06-09 12:00:00 UTC", ""},
		{"kubeadm cannot be told", 100 * day, false, "due", "ends in 100d, 2026-06-09 12:00:00 UTC, and everything that it has signed with it: the new apiserver will say that it is valid for longer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := Observation{At: now, Certificates: []pki.Certificate{{Name: "apiserver", CA: "ca"},
				{Name: "ca", Kind: pki.CA, Leaf: &x509.Certificate{}, NotAfter: now.Add(tt.left)}}}
			p := Plan{Renew: []Renewal{{Certificate: "apiserver", Reason: "due"}}}
			p.outlive(o, clusterConfig{Validity: 365 * day, Caps: tt.caps})
			notices := p.Notices.String()
			if p.Renew[0].Reason != tt.reason || (notices == "") != (tt.notice == "") || !strings.Contains(notices, tt.notice) {
				t.Errorf("%q, %q; want %q, %q", p.Renew[0].Reason, notices, tt.reason, tt.notice)
			}
		})
	}
}
