package renew

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"github.com/kubecertd/kubecertd/pki"
)

// validate says what is wrong with what kubeadm wrote, given what was there before
// and the cluster's configuration; nil when nothing is. That kubeadm ended well is no
// evidence: it does so too when it renewed nothing (kubeadm: cmd/certs.go).
//
// That it parses, that the key is its own, that it is valid now and signed by its CA
// is what makes its state ok.
func validate(before, after, ca pki.Certificate, cluster clusterConfig) error {
	if after.State != pki.OK {
		return fmt.Errorf("%s is %s after the renewal: %s", after.Path, after.State, after.Reason)
	}
	if after.SHA256 == before.SHA256 {
		return fmt.Errorf("%s is unchanged on disk although kubeadm reported no error", after.Path)
	}
	if got := keyAlgorithm(after.Leaf); cluster.Algorithm != "" && got != cluster.Algorithm {
		return fmt.Errorf("%s: the new key is %s, and the cluster is configured for %s (encryptionAlgorithm): was kubeadm given another configuration?", after.Path, got, cluster.Algorithm)
	}
	// kubeadm itself does not look at the CA's end (kubeadm: util/pkiutil/pki_helpers.go).
	if ca.Leaf != nil && cluster.Caps && after.NotAfter.After(ca.NotAfter) {
		return fmt.Errorf("%s: the new certificate ends %s, after its CA (%s)", after.Path,
			after.NotAfter.UTC().Format(pki.TimeLayout), ca.NotAfter.UTC().Format(pki.TimeLayout))
	}
	if before.Leaf == nil {
		return nil
	}
	if before.State != pki.Expired && !after.NotAfter.After(before.NotAfter) {
		return fmt.Errorf("%s: the new certificate ends %s, not later than the old one (%s): is certificateValidityPeriod in the cluster configuration as intended?",
			after.Path, after.NotAfter.UTC().Format(pki.TimeLayout), before.NotAfter.UTC().Format(pki.TimeLayout))
	}
	if after.Subject != before.Subject {
		return fmt.Errorf("%s: the subject changed from %q to %q", after.Path, before.Subject, after.Subject)
	}
	for _, lost := range []struct {
		what          string
		before, after []string
	}{
		{"DNS names", before.DNSNames, after.DNSNames},
		{"IP addresses", before.IPs, after.IPs},
		{"URIs", before.URIs, after.URIs},
		{"e-mail addresses", before.Emails, after.Emails},
		{"usages", before.Usages, after.Usages},
	} {
		if gone := minus(lost.before, lost.after); len(gone) > 0 {
			return fmt.Errorf("%s: the new certificate lost %s: %s", after.Path, lost.what, strings.Join(gone, ", "))
		}
	}
	return nil
}

func minus(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// keyAlgorithm is a certificate's key in the words of ClusterConfiguration's
// encryptionAlgorithm (kubeadm: apis/kubeadm/v1beta4/types.go).
func keyAlgorithm(c *x509.Certificate) string {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ECDSA-P%d", key.Curve.Params().BitSize)
	case ed25519.PublicKey:
		return "Ed25519"
	default:
		return c.PublicKeyAlgorithm.String()
	}
}
