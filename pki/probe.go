package pki

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// probeDeadline bounds one probe: a port that is black-holed costs no more.
const probeDeadline = 1500 * time.Millisecond

// Served is the certificate that a port showed, or why it showed none.
type Served struct {
	Endpoint  Endpoint  `json:"endpoint"`
	SHA256    string    `json:"sha256,omitempty"` // of the leaf's DER, lower-case hex
	Serial    string    `json:"serial,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	NotBefore time.Time `json:"notBefore,omitzero"`
	NotAfter  time.Time `json:"notAfter,omitzero"`
	// Leaf is the certificate itself; nil when none was shown.
	Leaf *x509.Certificate `json:"-"`
	// Error is why nothing was shown; empty when something was.
	Error string `json:"error,omitempty"`
}

// Probe asks one port for its certificate. It ends after the handshake's first
// half: nothing is requested, and an expired or foreign certificate is an answer
// like any other.
func Probe(ctx context.Context, e Endpoint) Served {
	s := Served{Endpoint: e}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, probeDeadline)
	defer cancel()
	config := &tls.Config{
		ServerName: e.ServerName,
		// What is served is compared with the file on disk, not trusted.
		InsecureSkipVerify: true, //nolint:gosec // see above
		MinVersion:         tls.VersionTLS12,
		// Nothing is sent that would have to stay secret from a quantum computer, whose
		// key exchange takes longer than all the rest.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		VerifyConnection: func(state tls.ConnectionState) error {
			leaf := state.PeerCertificates[0]
			sum := sha256.Sum256(leaf.Raw)
			s.SHA256, s.Serial, s.Subject = hex.EncodeToString(sum[:]), leaf.SerialNumber.Text(16), leaf.Subject.String()
			s.NotBefore, s.NotAfter, s.Leaf = leaf.NotBefore, leaf.NotAfter, leaf
			return nil
		},
	}
	if e.clientCertificate != "" {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := loadPair(e.clientCertificate, e.clientKey)
			if err != nil {
				return &tls.Certificate{}, nil //nolint:nilerr // none is an answer too; the port may refuse it
			}
			return &pair, nil
		}
	}
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{}, Config: config}).DialContext(ctx, "tcp", e.Address)
	if conn != nil {
		_ = conn.Close()
	}
	switch {
	case s.SHA256 != "":
		// It was shown; that a port then wanted a client certificate is its business.
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		s.Error = fmt.Sprintf("%s was not asked to the end: cancelled", e.Address)
	case err != nil && (ctx.Err() != nil || timedOut(err)):
		s.Error = fmt.Sprintf("no answer from %s within %s", e.Address, time.Since(began).Round(100*time.Millisecond))
	case err != nil:
		s.Error = probeError(err).Error()
	}
	return s
}

// timedOut says whether a connection was given up: the dialer keeps the deadline by a
// timer of its own, which may run out before the context's.
func timedOut(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// loadPair reads certificate and key without ever waiting for them, which
// tls.LoadX509KeyPair would do on a FIFO, and no deadline of a handshake ends that.
func loadPair(certificate, key string) (tls.Certificate, error) {
	c, _, err := ReadFile(certificate)
	if err != nil {
		return tls.Certificate{}, err
	}
	k, _, err := ReadFile(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(c, k)
}

// probeError drops what wraps a connection error without saying more.
func probeError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("%s: %w", op.Addr, op.Err)
	}
	return err
}

// ProbeAll asks all ports at the same time.
func ProbeAll(ctx context.Context, endpoints []Endpoint) []Served {
	served := make([]Served, len(endpoints))
	var wait sync.WaitGroup
	for i, e := range endpoints {
		wait.Go(func() { served[i] = Probe(ctx, e) })
	}
	wait.Wait()
	return served
}

// Compare says whether what is served is what is on disk, and the evidence in
// words.
func Compare(c Certificate, s Served) (equal bool, evidence string) {
	switch {
	case s.SHA256 == "":
		return false, s.Error
	case c.SHA256 == "":
		return false, fmt.Sprintf("%s serves serial %s, which ends %s; on disk is none to compare it with: %s", s.Endpoint.Address,
			short(s.Serial), s.NotAfter.UTC().Format(TimeLayout), c.Reason)
	case s.SHA256 == c.SHA256:
		return true, fmt.Sprintf("%s serves the certificate on disk", s.Endpoint.Address)
	default:
		return false, fmt.Sprintf("%s serves serial %s, which ends %s; on disk is serial %s, which ends %s", s.Endpoint.Address,
			short(s.Serial), s.NotAfter.UTC().Format(TimeLayout), short(c.Serial), c.NotAfter.UTC().Format(TimeLayout))
	}
}

// short is enough of a serial number to tell two apart.
func short(serial string) string { return serial[:min(len(serial), 8)] }
