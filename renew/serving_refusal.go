package renew

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// Identity is what this host is called and where it is reached, as itself knows it.
type Identity struct {
	Names     []string
	Addresses []net.IP
}

// refusal says why a request is not one that this node's own kubelet makes for what it
// serves; empty when it is. What the signer asks is asked here too (kubernetes:
// apis/certificates/helpers.go, ValidateKubeletServingCSR), and that every name and
// address is this host's: with anybody else's the certificate would let this node speak
// for another. It is a pure function.
func refusal(r SigningRequest, node string, own Identity) string {
	user := "system:node:" + node
	request, err := parseSigning(r.PEM)
	switch {
	case node == "":
		return "the name of this node is not known"
	case r.Username != user:
		return fmt.Sprintf("it was made by %s and not by %s", r.Username, user)
	case !slices.Contains(r.Groups, "system:nodes"):
		return "who made it is not in the group system:nodes"
	case err != nil:
		return err.Error()
	case request.Subject.CommonName != user:
		return fmt.Sprintf("its common name is %q and not %s", request.Subject.CommonName, user)
	case !slices.Equal(request.Subject.Organization, []string{"system:nodes"}), len(request.Subject.Names) != 2:
		return fmt.Sprintf("its subject is %s and not O=system:nodes,CN=%s", request.Subject, user)
	case len(request.EmailAddresses) > 0, len(request.URIs) > 0:
		return "it asks for email addresses or URIs"
	case len(request.DNSNames)+len(request.IPAddresses) == 0:
		return "it asks for no name and no address"
	}
	for _, e := range request.Extensions {
		if !e.Id.Equal([]int{2, 5, 29, 17}) { // subjectAltName
			return "it asks for the extension " + e.Id.String()
		}
	}
	names := append([]string{node}, own.Names...)
	for _, name := range request.DNSNames {
		if !slices.ContainsFunc(names, func(n string) bool { return n != "" && strings.EqualFold(n, name) }) {
			return fmt.Sprintf("the name %q is not this host's", name)
		}
	}
	for _, ip := range request.IPAddresses {
		if ip.IsLoopback() || ip.IsUnspecified() || ip.IsMulticast() || !slices.ContainsFunc(own.Addresses, ip.Equal) {
			return fmt.Sprintf("the address %s is not on an interface of this host", ip)
		}
	}
	// The kubelet leaves out key encipherment where its key is not RSA (client-go:
	// util/certificate; kubelet: certificate/kubelet.go).
	usages := slices.Sorted(slices.Values(r.Usages))
	if !slices.Equal(usages, []string{"digital signature", "key encipherment", "server auth"}) && !slices.Equal(usages, []string{"digital signature", "server auth"}) {
		return "its usages are " + strings.Join(r.Usages, ", ")
	}
	return ""
}

// parseSigning reads a request and says why its key cannot be used.
func parseSigning(content []byte) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(content)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, errors.New("it holds no single PEM block of a certificate request")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("it cannot be parsed: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("it is not signed with its own key: %w", err)
	}
	switch key := request.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return nil, fmt.Errorf("its RSA key has only %d bits", key.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if key.Curve.Params().BitSize < 256 {
			return nil, fmt.Errorf("its key is of the weak curve %s", key.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return nil, errors.New("its key is of a kind that is not known")
	}
	return request, nil
}

// sought are the names and addresses that a request asks for.
func sought(r SigningRequest) []string {
	request, err := parseSigning(r.PEM)
	if err != nil {
		return nil
	}
	list := slices.Clone(request.DNSNames)
	for _, ip := range request.IPAddresses {
		list = append(list, ip.String())
	}
	return list
}
