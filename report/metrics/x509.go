package metrics

import (
	"math/big"
	"path/filepath"
	"strings"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// x509 adds what is on disk by the names and labels of x509-certificate-exporter
// (pkg/registry), so that dashboards and alerts that were made for it go on.
func (s *samples) x509(o renew.Observation) {
	watched := 0
	for _, c := range o.Certificates {
		if c.Kind == pki.Memory || c.State == pki.Missing {
			continue
		}
		if c.Watched {
			if watched++; watched > mostWatched {
				continue
			}
		}
		labels := func() []string {
			kind, key := "", ""
			if c.Kind == pki.Kubeconfig && c.User != "" {
				kind, key = "user", c.User
			}
			return []string{filepath.Base(c.Path), c.Path, kind, key, decimal(c.Serial), commonName(c.Issuer), commonName(c.Subject)}
		}
		s.truth("x509_cert_error", c.NotAfter.IsZero(), labels()...)
		if c.NotAfter.IsZero() {
			continue
		}
		s.time("x509_cert_not_after", c.NotAfter, labels()...)
		s.time("x509_cert_not_before", c.NotBefore, labels()...)
		s.truth("x509_cert_expired", o.At.After(c.NotAfter), labels()...)
	}
}

// decimal is a serial number as x509-certificate-exporter writes it.
func decimal(serial string) string {
	n, ok := new(big.Int).SetString(serial, 16)
	if !ok {
		return ""
	}
	return n.String()
}

// commonName is the CN of a distinguished name as Go writes it (RFC 2253).
func commonName(name string) string {
	var parts []string
	var part strings.Builder
	escaped := false
	for _, r := range name {
		switch {
		case escaped:
			part.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == ',' || r == '+':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteRune(r)
		}
	}
	for _, p := range append(parts, part.String()) {
		if cn, ok := strings.CutPrefix(p, "CN="); ok {
			return cn
		}
	}
	return ""
}
