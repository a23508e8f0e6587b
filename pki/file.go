package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"syscall"
)

// maxFile is more than any certificate, key, kubeconfig or manifest holds.
const maxFile = 1 << 20

// errNoFile is something else in a file's place: a directory, a FIFO, a device.
var errNoFile = errors.New("is no regular file")

// ReadFile reads a regular file, and nothing that could block or never end: a FIFO
// or a device in a file's place must not hang the daemon, and one of more than a
// mebibyte is none of ours. It says what the file is like, too. Its errors do not
// name the file: the caller does, without the root.
func ReadFile(name string) (content []byte, info fs.FileInfo, err error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, unwrapPath(err)
	}
	defer func() { _ = f.Close() }()
	if info, err = f.Stat(); err != nil {
		return nil, nil, unwrapPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%w (%s)", errNoFile, info.Mode().Type())
	}
	// One byte more than there should be: then the end is found by the first reading, and
	// what has grown meanwhile is read all the same.
	into := bytes.NewBuffer(make([]byte, 0, min(info.Size(), maxFile)+1+bytes.MinRead))
	if _, err = into.ReadFrom(io.LimitReader(f, maxFile+1)); err != nil {
		return nil, nil, unwrapPath(err)
	}
	if into.Len() > maxFile {
		return nil, nil, fmt.Errorf("is larger than %d bytes", maxFile)
	}
	return into.Bytes(), info, nil
}

// unwrapPath drops the path from a file error: it is said by the sentence
// around it, without the root.
func unwrapPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// errNoCertificate is a file without one.
var errNoCertificate = errors.New("holds no PEM block of type CERTIFICATE, or a truncated one")

// parseCertificates reads every certificate of a PEM file, in their order; other
// blocks are passed over. The first is the leaf.
func parseCertificates(content []byte) ([]*x509.Certificate, error) {
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, errors.New("is empty")
	}
	var list []*x509.Certificate
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d cannot be parsed: %w", len(list)+1, err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errNoCertificate
	}
	return list, nil
}

// publicKey is the public half of the first private key of a PEM file. Its errors
// never carry key material.
func publicKey(content []byte) (crypto.PublicKey, error) {
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, errors.New("is empty")
	}
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return nil, errors.New("holds no PEM block with a private key, or a truncated one")
		}
		switch block.Type {
		case "RSA PRIVATE KEY":
			if k, ok := rsaPublic(block.Bytes); ok {
				return k, nil
			}
			return nil, errors.New("holds an RSA key that cannot be parsed")
		case "EC PRIVATE KEY":
			k, err := x509.ParseECPrivateKey(block.Bytes)
			if err != nil {
				return nil, errors.New("holds an EC key that cannot be parsed")
			}
			return k.Public(), nil
		case "PRIVATE KEY":
			if k, ok := rsaPublic8(block.Bytes); ok {
				return k, nil
			}
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, errors.New("holds a PKCS #8 key that cannot be parsed")
			}
			if signer, ok := k.(crypto.Signer); ok {
				return signer.Public(), nil
			}
			return nil, errors.New("holds a key that cannot sign")
		}
	}
}

// modulus is the public part of an RSA key.
type modulus struct {
	N *big.Int
	E int
}

// rsaPublic8 is rsaPublic for an RSA key in PKCS #8 (RFC 5208, section 5).
func rsaPublic8(der []byte) (modulus, bool) {
	var outer struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	// What may follow, attributes, is of no interest (RFC 5958).
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 {
		return modulus{}, false
	}
	if !outer.Algorithm.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}) { // rsaEncryption
		return modulus{}, false
	}
	return rsaPublic(outer.Key)
}

// rsaPublic reads modulus and exponent of a PKCS #1 private key (RFC 8017, A.1.2).
// Parsing the key as a whole checks its primes, which costs a look a hundred times
// more than the comparison it is wanted for.
func rsaPublic(der []byte) (modulus, bool) {
	var sequence asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &sequence); err != nil || len(rest) > 0 || sequence.Tag != asn1.TagSequence {
		return modulus{}, false
	}
	var version, e int
	n := new(big.Int)
	rest := sequence.Bytes
	for _, field := range []any{&version, &n, &e} {
		var err error
		if rest, err = asn1.Unmarshal(rest, field); err != nil {
			return modulus{}, false
		}
	}
	return modulus{n, e}, n.Sign() > 0
}
