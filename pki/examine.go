package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"path"
	"time"
)

// found is what a watched file holds, in as little memory as can be: parsed
// certificates are a hundred times larger than what is shown of them.
type found struct {
	kind    Kind
	changed time.Time
	// certificates are those that matter: the first, and the one that ends before it, if
	// there is one; of a bundle of CAs the one that ends first.
	certificates []shown
	// problem says why the file cannot be used; empty when it can.
	problem string
	// nothing says that the file is no certificate and no kubeconfig with one, and what
	// is missing.
	nothing string
	// certificatePath is the file that a kubeconfig names.
	certificatePath string
	server, user    string
}

// shown is one certificate of a file.
type shown struct {
	Certificate
	number, of int // which of how many certificates of the file, from 1
}

// examine says what a watched file holds. Nothing of the key that may be in it is kept.
func examine(content []byte, name string) *found {
	switch {
	case len(bytes.TrimSpace(content)) == 0:
		return &found{kind: PEM, nothing: "is empty"}
	case bytes.Contains(content, []byte("-----BEGIN ")):
		return examinePEM(content)
	case content[0] == 0x30: // an ASN.1 sequence, and no text
		return examineDER(content)
	case bytes.Contains(content, []byte("client-certificate")):
		return examineKubeconfig(content, path.Dir(name))
	default:
		return &found{kind: PEM, nothing: "holds no certificate, and no kubeconfig with one"}
	}
}

func examinePEM(content []byte) *found {
	list, err := parseCertificates(content)
	switch {
	case errors.Is(err, errNoCertificate) && !bytes.Contains(content, []byte("CERTIFICATE-----")):
		return &found{kind: PEM, nothing: "holds no certificate"}
	case err != nil:
		return &found{kind: PEM, problem: err.Error()}
	}
	f := ofCertificates(list)
	// Certificate and key may share a file, as for haproxy. One that cannot be read here,
	// such as an encrypted one, is its owner's.
	if public, err := publicKey(content); err == nil && !matches(list[0], public) {
		f.problem = "the key in it belongs to another certificate"
	}
	return f
}

func examineDER(content []byte) *found {
	c, err := x509.ParseCertificate(content)
	if err != nil {
		return &found{kind: PEM, nothing: "holds no certificate"}
	}
	return ofCertificates([]*x509.Certificate{c})
}

func examineKubeconfig(content []byte, dir string) *found {
	f := &found{kind: Kubeconfig}
	k, err := parseKubeconfig(content, dir)
	if err != nil {
		f.problem = err.Error()
		return f
	}
	f.server, f.user, f.certificatePath = k.server, k.user, k.certificatePath
	if k.certificatePath != "" {
		return f
	}
	list, err := parseCertificates(k.certificate)
	if err != nil {
		f.problem = "its client certificate " + err.Error()
		return f
	}
	f.certificates = ofCertificates(list).certificates
	if len(k.key) > 0 {
		if public, err := publicKey(k.key); err != nil || !matches(list[0], public) {
			f.problem = "its key does not belong to its client certificate"
		}
	}
	return f
}

// ofCertificates picks what matters of the certificates of a file.
func ofCertificates(list []*x509.Certificate) *found {
	f := &found{kind: PEM}
	first := 0 // to end
	for i, c := range list {
		if c.NotAfter.Before(list[first].NotAfter) {
			first = i
		}
	}
	if list[0].IsCA {
		f.kind = CA
	} else if first != 0 {
		f.show(list, 0)
	}
	f.show(list, first)
	return f
}

func (f *found) show(list []*x509.Certificate, i int) {
	var c Certificate
	c.describe(list[i])
	c.Issued, c.Leaf = c.NotBefore, nil
	f.certificates = append(f.certificates, shown{c, i + 1, len(list)})
}

// certificatesAt are the certificates of a file as they stand at a time.
func (f *found) certificatesAt(file string, now time.Time) []Certificate {
	list := make([]Certificate, 0, max(len(f.certificates), 1))
	for i, s := range f.certificates {
		c := s.Certificate
		c.watch(file, f)
		c.judgeTime(now)
		if s.number > 1 {
			c.Reason = fmt.Sprintf("certificate %d of %d in it, %s, %s", s.number, s.of, c.Subject, c.Reason)
		}
		if i > 0 {
			c.Name = fmt.Sprintf("%s#%d", file, s.number)
		}
		list = append(list, c)
	}
	if f.problem == "" {
		return list
	}
	if len(list) == 0 {
		list = append(list, Certificate{})
		list[0].watch(file, f)
	}
	list[0] = list[0].invalid("%s", f.problem)
	return list
}

// watch fills in what is the same for every certificate of a watched file.
func (c *Certificate) watch(file string, f *found) {
	c.Name, c.Path, c.Kind, c.Renewer, c.Watched = file, file, f.kind, Nobody, true
	c.Changed, c.Server, c.User = f.changed, f.server, f.user
}
