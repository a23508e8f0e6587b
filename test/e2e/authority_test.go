//go:build linux

package e2e_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/test/story"
)

// A CA whose key is not there, or cannot be used, or that has run out: it is said which,
// nothing that it has signed is touched, and what other CAs sign is renewed.
func TestAuthorityThatCannotSign(t *testing.T) {
	n := onNode(t)
	for _, tt := range []struct {
		name, ca string // the path of the CA, without .crt and .key
		harm     func(t *testing.T)
		verdict  []string // in the plan
		renewed  string   // what another CA signs
		kept     []string // what is due and not renewed
	}{
		{"ca.key absent", "ca", func(t *testing.T) { n.MustRun(t, "rm", "/etc/kubernetes/pki/ca.key") },
			[]string{"admin.conf is due", "its CA key /etc/kubernetes/pki/ca.key is not on this node: renew it where the CA is kept"}, "front-proxy-client", []string{"admin.conf"}},
		{"ca.key empty", "ca", func(t *testing.T) { n.MustRun(t, "truncate", "--size=0", "/etc/kubernetes/pki/ca.key") },
			[]string{"ca is invalid: its key /etc/kubernetes/pki/ca.key is empty: put it back from a backup", "admin.conf is due and cannot be renewed here"}, "front-proxy-client", []string{"admin.conf"}},
		{"CA expired", "ca", func(t *testing.T) { n.expireCA(t, "ca") },
			[]string{"the CA ca (/etc/kubernetes/pki/ca.crt) is expired since"}, "front-proxy-client", []string{"admin.conf", "scheduler.conf"}},
		{"etcd CA expired only", "etcd/ca", func(t *testing.T) { n.expireCA(t, "etcd/ca") },
			[]string{"the CA etcd-ca (/etc/kubernetes/pki/etcd/ca.crt) is expired since"}, "admin.conf", []string{"etcd-healthcheck-client", "etcd-peer"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.MustRun(t, "sh", "-c", "systemctl stop kubecertd; rm -rf "+story.StateDir+"/runs")
			n.Configure(t, story.Soon)
			n.Age(t, append([]string{"front-proxy-client"}, tt.kept...)...)
			if tt.renewed == "admin.conf" {
				n.Age(t, "admin.conf")
			}
			saved := map[string]string{}
			for _, suffix := range []string{".crt", ".key"} {
				path := "/etc/kubernetes/pki/" + tt.ca + suffix
				saved[path] = n.Read(t, path)
			}
			t.Cleanup(func() {
				for path, content := range saved {
					n.Write(t, path, content, 0o600)
				}
				n.MustRun(t, "sh", "-c", "systemctl stop kubecertd; kubecertd renew")
			})
			tt.harm(t)
			before := n.Observe(t)
			old := story.Serials(n.Leaves(t))
			n.Began = time.Now()

			began := time.Now()
			n.Start(t)
			n.AwaitSaid(t, time.Minute, "", tt.verdict...)
			t.Logf("the verdict %s after the start of the daemon", time.Since(began).Round(100*time.Millisecond))
			n.AwaitDone(t, 2*time.Minute)
			if !n.Renewed(t, tt.renewed) {
				t.Errorf("%s was not renewed", tt.renewed)
			}
			plan, _ := n.Try("kubecertd", "plan")
			if err := story.Contains(plan.Stdout, tt.verdict...); err != nil {
				t.Error(err)
			}
			for _, name := range tt.kept {
				if n.Renewed(t, name) {
					t.Errorf("%s was renewed", name)
				}
			}
			now := story.Serials(n.Leaves(t))
			for name, serial := range old {
				if now[name] != serial && name != tt.renewed && name != "front-proxy-client" {
					t.Errorf("%s was replaced", name)
				}
			}
			if strings.HasPrefix(tt.name, "etcd") || tt.name == "CA expired" {
				n.RestartedOnce(t, before)
			}
		})
	}
}

// expireCA replaces a CA by one of the same name and key that ran out yesterday.
func (n *node) expireCA(t *testing.T, name string) {
	t.Helper()
	file := filepath.Join(n.Root(), "etc/kubernetes/pki", name)
	pair, err := tls.LoadX509KeyPair(file+".crt", file+".key")
	if err != nil {
		t.Fatal(err)
	}
	template := *pair.Leaf
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-400*24*time.Hour), time.Now().Add(-24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, pair.Leaf.PublicKey, pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
}
