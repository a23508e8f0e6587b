package pki

import (
	"strings"
	"testing"
)

// Whatever lies in a certificate's place is read to an end, and nothing of a key
// comes back in an error.
func FuzzPEM(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nMAYCAQACAQM=\n-----END RSA PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		list, err := parseCertificates(content)
		if (err == nil) != (len(list) > 0) {
			t.Errorf("%d certificates and error %v", len(list), err)
		}
		for _, c := range list {
			var described Certificate
			described.describe(c)
			if len(described.SHA256) != 64 {
				t.Errorf("described as %+v", described)
			}
		}
		public, err := publicKey(content)
		if (err == nil) != (public != nil) {
			t.Errorf("key %v and error %v", public, err)
		}
		if err != nil && len(content) > 60 && strings.Contains(err.Error(), string(content[30:50])) {
			t.Errorf("the error quotes the file: %v", err)
		}
	})
}

// Whatever lies in a kubeconfig's place is read to an end: with credentials or with
// an error, which quotes nothing of a key.
func FuzzKubeconfig(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("users: [{name: u, user: {client-certificate-data: AAAA, client-key-data: c2VjcmV0}}]\n"))
	f.Add([]byte("current-context: c\ncontexts: [{name: c, context: {user: u}}]\nusers: [{name: u, user: {client-certificate: a.pem, client-key: /b}}]\n"))
	f.Add([]byte("users:\n- name: u\n  user:\n    client-key-data: [c2VjcmV0c2VjcmV0\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		k, err := parseKubeconfig(content, "/etc/kubernetes")
		if err == nil && len(k.certificate) == 0 && k.certificatePath == "" {
			t.Error("read without a certificate and without an error")
		}
		if err == nil && k.certificatePath != "" && !strings.HasPrefix(k.certificatePath, "/") {
			t.Errorf("path %q was not resolved", k.certificatePath)
		}
		if err != nil && strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("the error quotes a key: %v", err)
		}
	})
}
