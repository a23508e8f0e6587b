package pki

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// InMemory are the certificates that exist only in the memory of processes, as their
// ports showed them. One whose port showed none is Unknown: that a process does not
// answer says nothing about its certificate.
func InMemory(served []Served, now time.Time) []Certificate {
	var list []Certificate
	for _, s := range served {
		if s.Endpoint.Certificate != "" {
			continue
		}
		c := Certificate{Name: s.Endpoint.Name, Kind: Memory, Renewer: Restart, State: Unknown,
			Component: s.Endpoint.Component, Address: s.Endpoint.Address}
		switch {
		case s.Leaf == nil:
			c.Reason = "it could not be asked for: " + s.Error
		case c.Name == Loopback && !strings.HasPrefix(s.Leaf.Subject.CommonName, loopbackName):
			// A port that does not know the name shows what it shows everybody.
			c.Reason = fmt.Sprintf("%s shows %q instead: is it the API server's own port?", c.Address, s.Subject)
		default:
			c.describe(s.Leaf)
			c.Issued = selfIssued(s.Leaf)
			c.judgeTime(now)
		}
		list = append(list, c)
	}
	return list
}

// loopbackName begins the name of the API server's certificate for itself, and is the
// name by which it is asked for (apiserver: server/secure_serving.go).
const loopbackName = "apiserver-loopback-client"

// selfIssued is when a certificate that a process signed itself was issued: the time is
// in its name, HOST@UNIX, and its not-before may be an hour earlier (client-go:
// util/cert/cert.go).
func selfIssued(c *x509.Certificate) time.Time {
	_, seconds, found := strings.Cut(c.Subject.CommonName, "@")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	issued := time.Unix(unix, 0).UTC()
	if !found || err != nil || issued.Before(c.NotBefore) || issued.After(c.NotAfter) {
		return c.NotBefore
	}
	return issued
}

// selfMade says that a process of Kubernetes made this file for itself: the leaf is
// signed by its own key, or by an authority that was made with it, and named for its
// host and the time (client-go: util/cert/cert.go, GenerateSelfSignedCertKey).
func selfMade(file []*x509.Certificate) bool {
	leaf := file[0]
	host, at, found := strings.Cut(leaf.Subject.CommonName, "@")
	if _, err := strconv.ParseInt(at, 10, 64); !found || err != nil {
		return false
	}
	if bytes.Equal(leaf.RawIssuer, leaf.RawSubject) {
		return leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil
	}
	issuer, _, _ := strings.Cut(leaf.Issuer.CommonName, "@")
	return issuer == host+"-ca" && len(file) > 1 && signs(file[1], leaf)
}
