package pki

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"syscall"
	"time"
)

// authority is a CA as far as its leaves depend on it.
type authority struct {
	// certificates are those of its file, the first of which signs; trusted are all
	// by which a leaf is verified.
	certificates, trusted []*x509.Certificate
	// keyPath is where its key should be. keyHere: it is, and belongs to the CA;
	// keyAbsent: there is no such file, so the CA is kept elsewhere. Neither: the
	// file is there and cannot be used.
	keyPath            string
	keyHere, keyAbsent bool
}

// Read reads every certificate of the node, in kubeadm's order of names, then the
// kubelet's, then the CAs. It never fails: what is wrong with a certificate is its
// state.
func (l Layout) Read(now time.Time) []Certificate { return l.readFrom(l, now) }

// ReadCopies reads the certificates as they lie under another root, such as that of a
// snapshot, and judges them as if they lay in their places: by the CAs, and a CA by its
// key, that this node has now.
func (l Layout) ReadCopies(root string, now time.Time) []Certificate {
	copies := l
	copies.Root = root
	return l.readFrom(copies, now)
}

func (l Layout) readFrom(copies Layout, now time.Time) []Certificate {
	authorities := map[string]authority{}
	var leaves, cas []Certificate
	for _, s := range l.sources {
		if s.kind != CA {
			continue
		}
		c, a := l.readCA(s, l, now)
		authorities[s.name] = a
		if copies.Root != l.Root {
			c, _ = l.readCA(s, copies, now)
		}
		if c.State != Missing || !s.optional {
			cas = append(cas, c)
		}
	}
	for _, s := range l.sources {
		if s.kind == CA {
			continue
		}
		c := copies.readLeaf(s, authorities, now)
		if c.State == Missing && s.optional && s.renewer != Kubeadm && !s.awaited {
			continue // a kubelet that has not made its own yet
		}
		if s.kind == Kubeconfig && s.renewer == Kubelet {
			c.Kubelet = l.kubeletClientOf(c, authorities, now)
		}
		leaves = append(leaves, c)
	}
	estimateIssue(leaves, authorities)
	return append(leaves, cas...)
}

func (s source) certificate() Certificate {
	return Certificate{Name: s.name, Kind: s.kind, Renewer: s.renewer, Path: s.path, CA: s.ca, Optional: s.optional}
}

// readCA reads a CA, whose certificate may be a copy. Of its key there is none.
func (l Layout) readCA(s source, copies Layout, now time.Time) (Certificate, authority) {
	c, a := s.certificate(), authority{keyPath: s.key}
	content, err := copies.content(&c, s.path)
	if err != nil {
		return c, a
	}
	if a.certificates, err = parseCertificates(content); err != nil {
		return c.invalid("%s", err), a
	}
	a.trusted = a.certificates
	if s.trusted != "" {
		if more, _, err := l.read(s.trusted); err == nil {
			if list, err := parseCertificates(more); err == nil {
				a.trusted = append(slices.Clip(a.trusted), list...)
			}
		}
	}
	// During a rotation the file holds the old and the new CA. kubeadm signs with the
	// first and looks at no other (kubeadm: util/pkiutil/pki_helpers.go,
	// TryLoadCertFromDisk), so the first is what this is about.
	c.describe(a.certificates[0])
	c.Issued = c.NotBefore
	for _, more := range a.certificates[1:] {
		c.Bundle = append(c.Bundle, Trusted{more.Subject.String(), fingerprint(more), more.NotAfter})
	}
	if !c.Leaf.IsCA {
		return c.invalid("is no CA certificate"), a
	}
	key, _, err := l.read(s.key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a.keyAbsent = true
	case err != nil:
		return c.invalid("its key %s cannot be read: %s", s.key, err), a
	default:
		c.KeyPath = s.key
		public, err := publicKey(key)
		if err != nil {
			return c.invalid("its key %s %s: put it back from a backup, or remove the file if the CA is kept elsewhere", s.key, err), a
		}
		if !matches(a.certificates[0], public) {
			return c.invalid("its key %s belongs to another certificate: put the key of %s there, from a backup", s.key, s.path), a
		}
		c.KeyMatches, a.keyHere = true, true
		c.CAKeyHere = true
	}
	if !c.judgeTime(now) && a.keyAbsent && l.ControlPlane {
		c.State = External
		c.Reason = fmt.Sprintf("its key %s is not on this node; %s", s.key, c.Reason)
	}
	return c, a
}

func (l Layout) readLeaf(s source, authorities map[string]authority, now time.Time) Certificate {
	c := s.certificate()
	certificate, err := l.content(&c, s.path)
	if err != nil {
		if s.own && c.State == Missing && l.exists(s.key) {
			return c.invalid("there is no such file beside its key %s: its component starts with both or with neither", s.key)
		}
		return c
	}
	keyPath, key := s.key, []byte(nil)
	if s.kind == Kubeconfig {
		k, err := parseKubeconfig(certificate, path.Dir(s.path))
		if err != nil {
			return c.invalid("%s", err)
		}
		certificate, key, keyPath = k.certificate, k.key, s.path
		c.Server, c.User = k.server, k.user
		if k.certificatePath != "" {
			// The file is what is renewed and watched, and what a person looks for.
			c.Path = k.certificatePath
			if certificate, err = l.content(&c, k.certificatePath); err != nil {
				return c.invalid("%s names %s, which cannot be read: %s", s.path, k.certificatePath, err)
			}
		}
		if k.keyPath != "" {
			keyPath = k.keyPath
		}
	}
	list, err := parseCertificates(certificate)
	if err != nil {
		return c.invalid("%s", err)
	}
	c.describe(list[0])
	if s.own && selfMade(list) {
		c.Renewer = Restart
	}
	a, known := authorities[s.ca]
	signer := signerOf(list, a.trusted)
	signed := signer != nil
	if signed {
		c.Signer = fingerprint(signer)
	}
	if s.foreign && !signed {
		known, c.CA = false, ""
	}
	c.CAKeyHere = known && a.keyHere

	if len(key) == 0 && keyPath != "" {
		if key, _, err = l.read(keyPath); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				c.KeyPath = keyPath // a renewal makes a new one there
			}
			return c.invalid("its key %s cannot be read: %s", keyPath, unwrapPath(err))
		}
	}
	if keyPath != "" {
		c.KeyPath = keyPath
		public, err := publicKey(key)
		if err != nil {
			return c.invalid("its key %s %s", keyPath, err)
		}
		if c.KeyMatches = matches(list[0], public); !c.KeyMatches {
			return c.invalid("its key %s belongs to another certificate", keyPath)
		}
	}
	if known && len(a.trusted) > 0 && !signed {
		return c.invalid("it is not signed by its CA %s", s.ca)
	}
	if c.judgeTime(now) || s.renewer != Kubeadm {
		if c.State == Expired && s.renewer == Kubeadm && !c.CAKeyHere {
			if c.Reason += "; its CA key " + a.keyPath; a.keyAbsent {
				c.Reason += " is not on this node: renew it where the CA is kept"
			} else {
				c.Reason += " cannot be used: put that right first"
			}
		}
		return c
	}
	switch {
	case known && a.keyAbsent:
		c.State = External
		c.Reason = fmt.Sprintf("%s; its CA key %s is not on this node: renew it where the CA is kept", c.Reason, a.keyPath)
	case !c.CAKeyHere:
		c.Reason = fmt.Sprintf("%s; its CA %s cannot sign here: its key %s cannot be used", c.Reason, s.ca, a.keyPath)
	}
	return c
}

// content reads a certificate's file and notes when it was last written. On an
// error the certificate's state and reason are set.
func (l Layout) content(c *Certificate, file string) ([]byte, error) {
	content, info, err := l.read(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.State, c.Reason = Missing, "there is no such file"
	case err != nil:
		*c = c.invalid("it cannot be read: %s", err)
	default:
		c.Changed = info.ModTime().UTC()
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			c.Touched = time.Unix(stat.Ctim.Unix()).UTC()
		}
	}
	return content, err
}

// invalid is the certificate in state invalid.
func (c Certificate) invalid(format string, args ...any) Certificate {
	c.State, c.Reason = Invalid, fmt.Sprintf(format, args...)
	return c
}

// describe fills in what the certificate says of itself.
func (c *Certificate) describe(leaf *x509.Certificate) {
	c.Leaf = leaf
	c.Subject, c.Issuer = leaf.Subject.String(), leaf.Issuer.String()
	c.Serial, c.SHA256 = leaf.SerialNumber.Text(16), fingerprint(leaf)
	c.NotBefore, c.NotAfter = leaf.NotBefore, leaf.NotAfter
	c.DNSNames, c.Emails = leaf.DNSNames, leaf.EmailAddresses
	for _, uri := range leaf.URIs {
		c.URIs = append(c.URIs, uri.String())
	}
	for _, ip := range leaf.IPAddresses {
		c.IPs = append(c.IPs, ip.String())
	}
	for _, usage := range leaf.ExtKeyUsage {
		switch usage {
		case x509.ExtKeyUsageServerAuth:
			c.Usages = append(c.Usages, "server auth")
		case x509.ExtKeyUsageClientAuth:
			c.Usages = append(c.Usages, "client auth")
		default:
			c.Usages = append(c.Usages, fmt.Sprintf("usage %d", usage))
		}
	}
}

// kubeadmValidity is how long kubeadm's leaves live unless the cluster configuration
// says otherwise, which it can since v1beta4 (kubeadm: constants.go).
const kubeadmValidity = 365 * 24 * time.Hour

// estimateIssue sets when leaves whose not-before was copied from the CA were issued:
// kubeconfigs, and with older kubeadm the others too (kubernetes#113618). kubeadm
// gives all leaves of a cluster the same validity, so the longest of those without
// the flaw is theirs as well. The file's time would be no help: a backup tool that
// touches it every day would move it for ever.
func estimateIssue(leaves []Certificate, authorities map[string]authority) {
	copied := func(c Certificate) bool {
		return slices.ContainsFunc(authorities[c.CA].certificates, func(ca *x509.Certificate) bool { return c.NotBefore.Equal(ca.NotBefore) })
	}
	var validity time.Duration
	for _, c := range leaves {
		if c.Kind == PEM && c.Renewer == Kubeadm && c.Leaf != nil && !copied(c) {
			validity = max(validity, c.NotAfter.Sub(c.NotBefore))
		}
	}
	if validity == 0 {
		validity = kubeadmValidity
	}
	for i, c := range leaves {
		leaves[i].Issued = c.NotBefore
		if c.Renewer == Restart {
			leaves[i].Issued = selfIssued(c.Leaf)
		}
		if c.Renewer == Kubeadm && copied(c) && c.NotAfter.Sub(c.NotBefore) > validity {
			leaves[i].Issued = c.NotAfter.Add(-validity)
		}
	}
}

// judgeTime sets the state by the clock alone and says whether it is not ok.
func (c *Certificate) judgeTime(now time.Time) bool {
	switch {
	case now.After(c.NotAfter): // as x509.Certificate.Verify does
		c.State = Expired
		c.Reason = fmt.Sprintf("expired %s ago (%s)", Span(now.Sub(c.NotAfter)), c.NotAfter.UTC().Format(TimeLayout))
	case now.Before(c.NotBefore):
		*c = c.invalid("not valid before %s, in %s: is the clock right?", c.NotBefore.UTC().Format(TimeLayout), Span(c.NotBefore.Sub(now)))
	default:
		c.State = OK
		c.Reason = fmt.Sprintf("expires in %s (%s)", Span(c.NotAfter.Sub(now)), c.NotAfter.UTC().Format(TimeLayout))
	}
	return c.State != OK
}

// matches says whether a public key is the certificate's.
func matches(c *x509.Certificate, public crypto.PublicKey) bool {
	if m, ok := public.(modulus); ok {
		k, ok := c.PublicKey.(*rsa.PublicKey)
		return ok && k.E == m.E && k.N.Cmp(m.N) == 0
	}
	k, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(public)
}

// maxChain is more intermediates than a chain has; it bounds what a file full of
// certificates costs.
const maxChain = 8

// fingerprint is what tells certificates apart.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// signerOf is the trusted certificate that signed the first one of a file, or an
// intermediate of the same file that did; nil when none has. Time does not matter here:
// an expired certificate is still signed. That of a CA does not either: it is the CA's
// own state.
func signerOf(file, trusted []*x509.Certificate) *x509.Certificate {
	c, between := file[0], slices.Clone(file[1:min(len(file), maxChain)])
	for {
		signed := func(ca *x509.Certificate) bool { return signs(ca, c) }
		if i := slices.IndexFunc(trusted, signed); i >= 0 {
			return trusted[i]
		}
		next := slices.IndexFunc(between, signed)
		if next < 0 {
			return nil
		}
		c = between[next]
		between = slices.Delete(between, next, next+1)
	}
}

// signs says whether a CA signed a certificate, by its name and its key, as those
// who verify look it up.
func signs(ca, c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, ca.RawSubject) && c.CheckSignatureFrom(ca) == nil
}
