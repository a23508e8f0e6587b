package renew

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"sigs.k8s.io/yaml"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
)

// asked is a cluster that answers with this, or not.
type asked struct {
	configuration string
	err           error
}

func (a *asked) Configuration(context.Context) ([]byte, error) {
	return []byte(a.configuration), a.err
}

// brokenNode is a control-plane node whose cluster cannot be asked.
func brokenNode(t *testing.T) (*Node, *pkitest.Node, *asked) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	files, cluster := pkitest.New(t, now.Add(-300*day)), &asked{err: errors.New("connection refused")}
	return &Node{
		Locate:  func() (pki.Layout, []error) { return pki.Locate(pki.Options{Root: files.Root}) },
		Cluster: cluster, State: State{Dir: t.TempDir()}, Log: zap.NewNop(), Now: func() time.Time { return now },
	}, files, cluster
}

// given is the configuration that kubeadm is given.
func given(t *testing.T, n *Node) map[string]any {
	t.Helper()
	c, err := n.configuration()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(c.Path)
	fields := map[string]any{}
	if err := errors.Join(err, yaml.Unmarshal(content, &fields)); err != nil {
		t.Fatal(err)
	}
	return fields
}

// With neither API server nor memory kubeadm is told what the node itself tells.
func TestRebuilt(t *testing.T) {
	n, files, _ := brokenNode(t)
	for _, name := range []string{"apiserver", "apiserver-etcd-client", "etcd-server", "etcd-peer"} {
		files.Issue(name, n.Now().Add(-backdate), n.Now().Add(24*time.Hour))
	}
	if err := n.secureConfiguration(t.Context(), "v1.36.3"); err != nil {
		t.Fatal(err)
	}
	fields := given(t, n)
	sans, _ := fields["apiServer"].(map[string]any)["certSANs"].([]any)
	if len(sans) < 3 {
		t.Errorf("names %v", sans)
	}
	delete(fields, "apiServer")
	want := map[string]any{
		"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration", "kubernetesVersion": "v1.36.3",
		"certificatesDir": "/etc/kubernetes/pki", "controlPlaneEndpoint": fields["controlPlaneEndpoint"],
		"encryptionAlgorithm": "ECDSA-P256", "certificateValidityPeriod": "24h0m0s",
		"networking": fields["networking"],
	}
	if fields["networking"] == nil {
		delete(want, "networking")
	}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("rebuilt (-want +got):\n%s", diff)
	}

	// An older kubeadm has other words for it.
	if err := n.secureConfiguration(t.Context(), "v1.30.2"); err != nil {
		t.Fatal(err)
	}
	fields = given(t, n)
	gates, _ := fields["featureGates"].(map[string]any)
	if fields["apiVersion"] != "kubeadm.k8s.io/v1beta3" || gates["PublicKeysECDSA"] != true || fields["encryptionAlgorithm"] != nil {
		t.Errorf("rebuilt for kubeadm 1.30: %v", fields)
	}
}

// An etcd elsewhere is told: kubeadm would take it for one of its own.
func TestRebuiltExternalEtcd(t *testing.T) {
	n, files, _ := brokenNode(t)
	files.Remove(files.Path("/etc/kubernetes/manifests/etcd.yaml"))
	content, err := os.ReadFile(files.Path("/etc/kubernetes/manifests/kube-apiserver.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(content), "\n")
	for i, line := range lines {
		if strings.Contains(line, "--etcd-servers=") {
			lines[i] = strings.Split(line, "--etcd-servers=")[0] + "--etcd-servers=https://192.0.2.21:2379,https://192.0.2.22:2379"
		}
	}
	files.Write("/etc/kubernetes/manifests/kube-apiserver.yaml", strings.Join(lines, "\n"))
	if err := n.secureConfiguration(t.Context(), "v1.36.3"); err != nil {
		t.Fatal(err)
	}
	etcd, _ := given(t, n)["etcd"].(map[string]any)
	want := map[string]any{"external": map[string]any{
		"endpoints": []any{"https://192.0.2.21:2379", "https://192.0.2.22:2379"},
		"caFile":    "/etc/kubernetes/pki/etcd/ca.crt", "certFile": "/etc/kubernetes/pki/apiserver-etcd-client.crt", "keyFile": "/etc/kubernetes/pki/apiserver-etcd-client.key",
	}}
	if diff := cmp.Diff(want, etcd); diff != "" {
		t.Errorf("etcd (-want +got):\n%s", diff)
	}
}

const stored = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nclusterName: mine\nkubernetesVersion: v1.34.4\n"

// What was remembered counts while the cluster cannot be asked, and only for this
// cluster.
func TestRemembered(t *testing.T) {
	n, files, cluster := brokenNode(t)
	cluster.configuration, cluster.err = stored, nil
	if err := n.secureConfiguration(t.Context(), "v1.35.1"); err != nil {
		t.Fatal(err)
	}
	cluster.err = errors.New("connection refused")
	if err := n.secureConfiguration(t.Context(), "v1.35.1"); err != nil {
		t.Fatal(err)
	}
	if fields := given(t, n); fields["clusterName"] != "mine" || fields["kubernetesVersion"] != "v1.34.4" {
		t.Errorf("remembered %v", fields)
	}

	// kubeadm 1.36 refuses a cluster of 1.34, and would not renew.
	if err := n.secureConfiguration(t.Context(), "v1.36.3"); err != nil {
		t.Fatal(err)
	}
	if fields := given(t, n); fields["clusterName"] != "mine" || fields["kubernetesVersion"] != "v1.36.3" {
		t.Errorf("remembered for kubeadm 1.36: %v", fields)
	}

	// The hosts were used for another cluster since.
	files.CA("ca", n.Now().Add(-day), n.Now().Add(3650*day))
	files.Issue("apiserver", n.Now().Add(-day), n.Now().Add(364*day))
	if _, err := n.remembered(mustRead(n)); err == nil || !strings.Contains(err.Error(), "is of another cluster") {
		t.Errorf("error %v", err)
	}
	if err := n.secureConfiguration(t.Context(), "v1.36.3"); err != nil {
		t.Fatal(err)
	}
	if fields := given(t, n); fields["clusterName"] != nil || fields["encryptionAlgorithm"] != "ECDSA-P256" {
		t.Errorf("of the other cluster: %v", fields)
	}
}

func mustRead(n *Node) []pki.Certificate {
	layout, _ := n.Locate()
	return layout.Read(n.Now())
}

func TestValidityOf(t *testing.T) {
	leaf := func(name string, validity time.Duration) pki.Certificate {
		from := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		return pki.Certificate{Name: name, Kind: pki.PEM, Renewer: pki.Kubeadm, Leaf: new(x509.Certificate), NotBefore: from, NotAfter: from.Add(validity)}
	}
	tests := []struct {
		name string
		list []pki.Certificate
		want time.Duration
	}{
		{"none", nil, 365 * day},
		{"backdated by five minutes", []pki.Certificate{leaf("a", 24*time.Hour+backdate)}, 24 * time.Hour},
		{"not backdated", []pki.Certificate{leaf("a", 365*day)}, 365 * day},
		{"one was shortened for its CA", []pki.Certificate{leaf("a", 12*day+time.Minute), leaf("b", 365*day+backdate), leaf("c", 365*day+backdate)}, 365 * day},
	}
	for _, tt := range tests {
		if got := validityOf(tt.list); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// The API server's certificate may be what is damaged: then a snapshot has it, or its
// names are those by which clients on this node ask for it.
func TestRebuiltWithoutItsCertificate(t *testing.T) {
	for kept, want := range map[bool]string{true: "cp1 localhost kubernetes 127.0.0.1 192.0.2.11", false: "api"} {
		n, files, _ := brokenNode(t)
		layout, _ := n.Locate()
		if kept {
			if _, err := n.State.snapshot("20260201T000000.000Z-000000", n.Now(), layout, layout.Read(n.Now())); err != nil {
				t.Fatal(err)
			}
		}
		files.Write("/etc/kubernetes/pki/apiserver.crt", "")
		if err := n.secureConfiguration(t.Context(), "v1.36.3"); err != nil {
			t.Fatal(err)
		}
		fields := given(t, n)
		sans, _ := fields["apiServer"].(map[string]any)["certSANs"].([]any)
		if got := strings.Trim(fmt.Sprint(sans), "[]"); got != want || fields["encryptionAlgorithm"] != "ECDSA-P256" {
			t.Errorf("with a snapshot: %t: names %q, keys %v; want %q", kept, got, fields["encryptionAlgorithm"], want)
		}
	}
}
