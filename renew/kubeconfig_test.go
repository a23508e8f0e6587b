package renew

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
)

func bundle(names ...string) string {
	var content []byte
	for _, name := range names {
		content = append(content, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(name)})...)
	}
	return base64.StdEncoding.EncodeToString(content)
}

// kubeconfigWith is one as kubeadm writes it.
func kubeconfigWith(ca, server, credentials, more string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: %s
    server: %s
  name: kubernetes
contexts:
- context: {cluster: kubernetes, user: admin}
  name: admin@kubernetes
current-context: admin@kubernetes
kind: Config
%susers:
- name: admin
  user:
    client-certificate-data: %s
    client-key-data: %s
`, ca, server, more, credentials, credentials)
}

func TestCompareKubeconfigs(t *testing.T) {
	const server = "https://192.0.2.1:6443"
	tests := []struct {
		name          string
		before, after []byte
		repaired      string // the CA data of the kubeconfig that is returned
		err           string
	}{
		{"only credentials", kubeconfigWith(bundle("old"), server, "a", "preferences: {}\n"), kubeconfigWith(bundle("old"), server, "b", ""), "", ""},
		{"a bundle shrank to its first", kubeconfigWith(bundle("new", "old"), server, "a", ""), kubeconfigWith(bundle("new"), server, "b", ""), bundle("new", "old"), ""},
		{"a bundle shrank to its second", kubeconfigWith(bundle("old", "new"), server, "a", ""), kubeconfigWith(bundle("new"), server, "b", ""), bundle("old", "new"), ""},
		{"another CA", kubeconfigWith(bundle("old"), server, "a", ""), kubeconfigWith(bundle("new"), server, "b", ""), "", "another CA"},
		{"no CA", kubeconfigWith(bundle("old"), server, "a", ""), kubeconfigWith("", server, "b", ""), "", "another CA"},
		{"another server", kubeconfigWith(bundle("old"), server, "a", ""), kubeconfigWith(bundle("old"), "https://192.0.2.2:6443", "b", ""), "", "its clusters"},
		{"a shrunken bundle and another server", kubeconfigWith(bundle("new", "old"), server, "a", ""), kubeconfigWith(bundle("new"), "https://192.0.2.2:6443", "b", ""), "", "its clusters"},
		{"another user", kubeconfigWith(bundle("old"), server, "a", ""),
			[]byte(strings.Replace(string(kubeconfigWith(bundle("old"), server, "b", "")), "- name: admin\n", "- name: root\n", 1)), "", "its users"},
		{"a token lost", append(kubeconfigWith(bundle("old"), server, "a", ""), "    token: t\n"...), kubeconfigWith(bundle("old"), server, "b", ""), "", "its users"},
		{"extensions lost", kubeconfigWith(bundle("old"), server, "a", "extensions: [{name: x}]\n"), kubeconfigWith(bundle("old"), server, "b", ""), "", "its extensions"},
		{"no YAML", kubeconfigWith(bundle("old"), server, "a", ""), []byte("client-key-data: [secret"), "", "it is no YAML"},
		{"empty", kubeconfigWith(bundle("old"), server, "a", ""), nil, "", "it is no YAML"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			repaired, err := compareKubeconfigs(tt.before, tt.after)
			if (err == nil) != (tt.err == "") || (err != nil && !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error quotes the file: %v", err)
			}
			if tt.repaired == "" {
				if repaired != nil {
					t.Errorf("repaired: %s", repaired)
				}
				return
			}
			// It is what kubeadm wrote, with the CAs of before.
			if again, err := compareKubeconfigs(repaired, kubeconfigWith(tt.repaired, server, "b", "")); err != nil || again != nil {
				t.Errorf("repaired to %s: %v", repaired, err)
			}
			if !strings.Contains(string(repaired), "client-key-data: b") {
				t.Errorf("the new credentials are gone: %s", repaired)
			}
		})
	}
}
