//go:build linux

package controlplane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"sigs.k8s.io/yaml"
)

// authority signs certificates anew.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// pair is a certificate and its key, both in PEM.
type pair struct{ cert, key []byte }

func parseAuthority(cert, key []byte) (*authority, error) {
	both, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	signer, ok := both.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("its key, a %T, cannot sign", both.PrivateKey)
	}
	return &authority{cert: both.Leaf, key: signer}, nil
}

// remint signs the first certificate in a PEM file again, for another time
// and a new key of the same kind. Everything else stays.
func (a *authority) remint(old []byte, notBefore, notAfter time.Time) (pair, error) {
	was, err := firstCertificate(old)
	if err != nil {
		return pair{}, err
	}
	key, err := likeKey(was.PublicKey)
	if err != nil {
		return pair{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return pair{}, fmt.Errorf("make a serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// As it was encoded, so that not even an odd encoding changes.
		RawSubject:            was.RawSubject,
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              was.KeyUsage,
		ExtKeyUsage:           was.ExtKeyUsage,
		UnknownExtKeyUsage:    was.UnknownExtKeyUsage,
		BasicConstraintsValid: was.BasicConstraintsValid,
		DNSNames:              was.DNSNames,
		IPAddresses:           was.IPAddresses,
		EmailAddresses:        was.EmailAddresses,
		URIs:                  was.URIs,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return pair{}, fmt.Errorf("sign it: %w", err)
	}
	block, err := keyBlock(key)
	if err != nil {
		return pair{}, err
	}
	return pair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(block),
	}, nil
}

func firstCertificate(data []byte) (*x509.Certificate, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, errors.New("there is no certificate in it")
}

// likeKey makes a key of the same kind and size.
func likeKey(public any) (crypto.Signer, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return rsa.GenerateKey(rand.Reader, k.N.BitLen())
	case *ecdsa.PublicKey:
		return ecdsa.GenerateKey(k.Curve, rand.Reader)
	case ed25519.PublicKey:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("make a key: of what kind is %T?", public)
}

// keyBlock encodes a key as kubeadm does.
func keyBlock(key crypto.Signer) (*pem.Block, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}, nil
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		return &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return &pem.Block{Type: "PRIVATE KEY", Bytes: der}, err
}

// remintKubeconfig replaces the client certificate of every user that has one
// inside.
func remintKubeconfig(kubeconfig []byte, remint func(cert []byte) (pair, error)) ([]byte, error) {
	var config map[string]any
	if err := yaml.Unmarshal(kubeconfig, &config); err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	found := false
	users, _ := config["users"].([]any)
	for _, entry := range users {
		named, _ := entry.(map[string]any)
		user, _ := named["user"].(map[string]any)
		encoded, _ := user["client-certificate-data"].(string)
		if encoded == "" {
			continue
		}
		cert, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return nil, fmt.Errorf("read its client certificate: %w", err)
		}
		fresh, err := remint(cert)
		if err != nil {
			return nil, err
		}
		user["client-certificate-data"] = base64.StdEncoding.EncodeToString(fresh.cert)
		user["client-key-data"] = base64.StdEncoding.EncodeToString(fresh.key)
		found = true
	}
	if !found {
		return nil, errors.New("the kubeconfig has no client certificate inside")
	}
	return yaml.Marshal(config)
}
