//go:build linux

package controlplane

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestHostsFile(t *testing.T) {
	got := hostsFile([]string{"cp1", "cp2"}, func(n int) string { return []string{"10.99.1.11", "10.99.1.12"}[n] })
	want := `127.0.0.1 localhost
10.99.1.11 cp1
10.99.1.12 cp2
10.99.1.11 api
10.99.1.12 api
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("/etc/hosts (-want +got):\n%s", diff)
	}
}

func TestKubeadmConfigurations(t *testing.T) {
	v := values{
		Name: "cp1", Address: "10.99.1.11", Kubernetes: "v1.36.3", CgroupDriver: "cgroupfs",
		Token: "abcdef.0123456789abcdef", CertificateKey: "00ff", CAHash: "sha256:ab",
	}
	find := func(t *testing.T, file string, v values, kind string) map[string]any {
		t.Helper()
		text, err := render(file, v)
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(text, "\n---\n") {
			var m map[string]any
			if err := yaml.Unmarshal([]byte(document), &m); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if m["kind"] == kind {
				return m
			}
		}
		t.Fatalf("%s has no %s", file, kind)
		return nil
	}

	if got, set := find(t, "kubeadm.yaml", v, "ClusterConfiguration")["certificateValidityPeriod"]; set {
		t.Errorf("validity = %v, want kubeadm's own", got)
	}
	v.Validity = validity(90 * time.Minute)
	if got := find(t, "kubeadm.yaml", v, "ClusterConfiguration")["certificateValidityPeriod"]; got != "1h30m0s" {
		t.Errorf("validity = %v, want 1h30m0s", got)
	}
	if got := find(t, "kubeadm.yaml", v, "KubeletConfiguration")["cgroupDriver"]; got != "cgroupfs" {
		t.Errorf("cgroup driver = %v, want cgroupfs", got)
	}
	join := find(t, "join.yaml", v, "JoinConfiguration")
	want := map[string]any{"bootstrapToken": map[string]any{
		"apiServerEndpoint": "api:6443", "token": v.Token, "caCertHashes": []any{v.CAHash},
	}}
	if diff := cmp.Diff(want, join["discovery"]); diff != "" {
		t.Errorf("discovery (-want +got):\n%s", diff)
	}
}

// Every file of the folder node has a place, or kubeadm is called with it.
func TestEveryNodeFileIsUsed(t *testing.T) {
	used := map[string]bool{"kubeadm.yaml": true, "join.yaml": true}
	for _, p := range places {
		used[p.file] = true
	}
	entries, err := nodeFiles.ReadDir("node")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !used[entry.Name()] {
			t.Errorf("node/%s goes nowhere", entry.Name())
		}
		delete(used, entry.Name())
	}
	for file := range used {
		t.Errorf("node/%s is missing", file)
	}
}
