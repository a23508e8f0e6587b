package pki_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
)

// A kubeconfig need not look as kubeadm writes it.
func TestReadKubeconfig(t *testing.T) {
	const (
		conf = "/etc/kubernetes/admin.conf"
		cert = "/etc/kubernetes/pki/apiserver-kubelet-client.crt"
		key  = "/etc/kubernetes/pki/apiserver-kubelet-client.key"
		pair = "client-certificate: " + cert + ", client-key: " + key
	)
	tests := []struct {
		name, content           string
		state                   pki.State
		reason, path, key, host string
	}{
		{
			name: "absolute paths",
			content: "current-context: b\ncontexts: [{name: a, context: {user: x}}, {name: b, context: {user: u, cluster: k}}]\n" +
				"clusters: [{name: k, cluster: {server: 'https://api:6443'}}]\nusers: [{name: x, user: {}}, {name: u, user: {" + pair + "}}]\n",
			state: pki.OK, reason: "expires in", path: cert, key: key, host: "https://api:6443",
		},
		{
			name:    "paths relative to the kubeconfig",
			content: "users: [{name: u, user: {client-certificate: pki/../pki/apiserver-kubelet-client.crt, client-key: ./pki/apiserver-kubelet-client.key}}]\n",
			state:   pki.OK, reason: "expires in", path: cert, key: key,
		},
		{
			name: "a password in the server's URL",
			content: "current-context: b\ncontexts: [{name: b, context: {user: u, cluster: k}}]\n" +
				"clusters: [{name: k, cluster: {server: 'https://me:hunter2@api:6443'}}]\nusers: [{name: u, user: {" + pair + "}}]\n",
			state: pki.OK, reason: "expires in", path: cert, key: key, host: "https://me:xxxxx@api:6443",
		},
		{
			name:    "no current context, and two users",
			content: "users: [{name: a, user: {" + pair + "}}, {name: b, user: {}}]\n",
			state:   pki.Invalid, reason: "its current context is not among its 0 contexts", path: conf,
		},
		{
			name:    "a context of a user who is not there",
			content: "current-context: c\ncontexts: [{name: c, context: {user: gone}}]\nusers: [{name: u, user: {" + pair + "}}]\n",
			state:   pki.Invalid, reason: "its user is not among its 1 users", path: conf,
		},
		{
			name:    "a token",
			content: "users: [{name: u, user: {token: c2VjcmV0}}]\n",
			state:   pki.Invalid, reason: "its user has no client certificate", path: conf,
		},
		{
			name:    "a certificate without a key",
			content: "users: [{name: u, user: {client-certificate: pki/apiserver-kubelet-client.crt}}]\n",
			state:   pki.Invalid, reason: "its key /etc/kubernetes/admin.conf holds no PEM block with a private key", path: cert, key: conf,
		},
		{
			name:    "a path to nowhere",
			content: "users: [{name: u, user: {client-certificate: nowhere.crt}}]\n",
			state:   pki.Invalid, reason: conf + " names /etc/kubernetes/nowhere.crt, which cannot be read: no such file", path: "/etc/kubernetes/nowhere.crt",
		},
		{
			name:    "no base64",
			content: "users: [{name: u, user: {client-certificate-data: '%'}}]\n",
			state:   pki.Invalid, reason: "client-certificate-data is no base64", path: conf,
		},
		{
			name:    "a key that is no base64",
			content: "users: [{name: u, user: {client-certificate-data: AAAA, client-key-data: 'c2VjcmV0%'}}]\n",
			state:   pki.Invalid, reason: "client-key-data is no base64", path: conf,
		},
	}
	n := pkitest.New(t, now)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.Write(conf, tt.content)
			c := read(t, n, now)["admin.conf"]
			if c.State != tt.state || !strings.Contains(c.Reason, tt.reason) {
				t.Errorf("%s (%s), want %s (%s)", c.State, c.Reason, tt.state, tt.reason)
			}
			if c.Path != tt.path || c.KeyPath != tt.key || c.Server != tt.host {
				t.Errorf("path %q, key %q, server %q; want %q, %q, %q", c.Path, c.KeyPath, c.Server, tt.path, tt.key, tt.host)
			}
			if all := fmt.Sprintf("%+v", c); strings.Contains(all, "c2VjcmV0") || strings.Contains(all, "hunter2") {
				t.Errorf("a secret shows: %s", all)
			}
		})
	}
}

// A kubelet.conf with the certificate in it, as kubeadm before 1.17 left it, is a
// trap: the kubelet rotates its own file, and starts with this one (kubeadm#1753).
// So this one is what counts.
func TestReadKubeletConfEmbedded(t *testing.T) {
	n := pkitest.New(t, now)
	n.Issue("admin.conf", now.Add(-10*day), now.Add(-day))
	copyFile(t, n.Path("/etc/kubernetes/admin.conf"), n.Path("/etc/kubernetes/kubelet.conf"))
	if c := read(t, n, now)["kubelet-client"]; c.State != pki.Expired || c.Path != "/etc/kubernetes/kubelet.conf" {
		t.Errorf("kubelet-client (%s) is %s: %s", c.Path, c.State, c.Reason)
	}
	rotated, err := filepath.Glob(n.Path("/var/lib/kubelet/pki/kubelet-client-2*.pem"))
	if err != nil || len(rotated) != 1 {
		t.Errorf("the rotated file is not there to be mistaken for it: %v, %v", rotated, err)
	}
}
