package pki_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
)

// How the kubelet comes by its client certificate is in its kubeconfig, and in the file
// that it rotates, and the two need not agree.
func TestKubeletClient(t *testing.T) {
	const conf, current = "/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/pki/kubelet-client-current.pem"
	for name, tt := range map[string]struct {
		change   func(*pkitest.Node)
		damaged  string
		embedded bool
		rotating pki.State
		given    bool
		boot     string
		override string
		hostname string
	}{
		"as kubeadm leaves it": {func(*pkitest.Node) {}, "", false, pki.OK, false, "", "", ""},
		"embedded":             {func(n *pkitest.Node) { n.Write(conf, n.Embedded("cp1", now, now.Add(day))) }, "", true, pki.OK, false, "", "", ""},
		"no kubelet.conf":      {func(n *pkitest.Node) { n.Remove(n.Path(conf)) }, "there is no such file", false, pki.OK, false, "", "", ""},
		"no API server": {func(n *pkitest.Node) {
			n.Write(conf, strings.Replace(contentOf(t, n.Path(conf)), "server: https://api:6443", "server: ''", 1))
		}, "it names no API server", false, pki.OK, false, "", "", ""},
		"another cluster's": {func(n *pkitest.Node) { n.Write(conf, contentOf(t, pkitest.New(t, now).Path(conf))) },
			"it trusts another CA than this cluster's", false, pki.OK, false, "", "", ""},
		"nothing to rotate": {func(n *pkitest.Node) { n.Remove(n.Path(current)) }, "", false, pki.Missing, false, "", "", ""},
		"a directory of its own": {func(n *pkitest.Node) {
			n.Write(conf, strings.ReplaceAll(contentOf(t, n.Path(conf)), current, "/srv/pki/kubelet-client-current.pem"))
		}, "", false, pki.Missing, false, "", "", ""},
		"given": {func(n *pkitest.Node) {
			text := contentOf(t, n.Path(kubeletDated(t, n)))
			n.Write(kubeletDated(t, n), pki.GivenMark+" in run x.\n"+text)
		}, "", false, pki.OK, true, "", "", ""},
		"bootstrapping": {func(n *pkitest.Node) { n.Write("/etc/kubernetes/bootstrap-kubelet.conf", "x") }, "", false, pki.OK, false,
			"/etc/kubernetes/bootstrap-kubelet.conf", "", ""},
		"names": {func(n *pkitest.Node) {
			n.Write("/etc/hostname", "Host.example\n")
			n.Write("/var/lib/kubelet/kubeadm-flags.env", `KUBELET_KUBEADM_ARGS="--v=2 --hostname-override=CP1"`+"\n")
		}, "", false, pki.OK, false, "", "cp1", "host.example"},
		"a remark is no name": {func(n *pkitest.Node) {
			n.Write("/etc/default/kubelet", "# KUBELET_EXTRA_ARGS=--hostname-override=other\nKUBELET_EXTRA_ARGS=\n")
		}, "", false, pki.OK, false, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := pkitest.New(t, now.Add(-10*day))
			tt.change(n)
			k := read(t, n, now)["kubelet-client"].Kubelet
			if k == nil {
				t.Fatal("nothing is said of the kubelet")
			}
			if k.Damaged != tt.damaged || k.Embedded != tt.embedded || k.Rotating.State != tt.rotating || k.Given != tt.given ||
				k.Bootstrap != tt.boot || k.Override != tt.override || k.Hostname != tt.hostname {
				t.Errorf("found %+v", k)
			}
		})
	}
}

// kubeletDated is the file behind the link that the kubelet rotates.
func kubeletDated(t *testing.T, n *pkitest.Node) string {
	t.Helper()
	rotated, err := filepath.Glob(n.Path("/var/lib/kubelet/pki/kubelet-client-2*.pem"))
	if err != nil || len(rotated) == 0 {
		t.Fatalf("nothing was rotated: %v", err)
	}
	return strings.TrimPrefix(rotated[0], n.Root)
}
