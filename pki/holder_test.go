package pki_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
)

// container is a container of a manifest that mounts what volumes of the pod are called.
func container(name, more string, volumes ...string) string {
	text := "  - name: " + name + "\n"
	if more != "" {
		text += "    " + more + "\n"
	}
	text += "    volumeMounts:\n"
	for _, v := range volumes {
		text += "    - {mountPath: /in/" + v + ", name: " + v + "}\n"
	}
	return text
}

// pod is a manifest whose volumes are host paths, by name.
func pod(name string, volumes map[string]string, containers ...string) string {
	text := "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec:\n  volumes:\n"
	for v, path := range volumes {
		text += "  - {name: " + v + ", hostPath: {path: " + path + "}}\n"
	}
	return text + "  containers:\n" + strings.Join(containers, "")
}

// Static pods of others that see our files are found by their mounts.
func TestHolders(t *testing.T) {
	paths := map[string]string{"admin": "/etc/kubernetes/admin.conf", "kubernetes": "/etc/kubernetes/", "pki": "/etc/kubernetes/pki", "etcd": "/etc/kubernetes/pki/etcd",
		"key": "/etc/kubernetes/pki/apiserver.key", "ca": "/etc/kubernetes/pki/ca.crt", "etc": "/etc", "var": "/var/lib/kubelet", "linked": "/srv/link"}
	all := []string{"admin.conf", "apiserver", "apiserver-etcd-client", "apiserver-kubelet-client", "controller-manager.conf",
		"etcd-healthcheck-client", "etcd-peer", "etcd-server", "front-proxy-client", "scheduler.conf", "super-admin.conf"}
	tests := []struct {
		name      string
		container string
		want      []string
	}{
		{"a kubeconfig", container("x", "", "admin"), []string{"admin.conf"}},
		{"through a link on the host", container("x", "", "linked"), []string{"admin.conf"}},
		{"a key alone", container("x", "", "key"), []string{"apiserver"}},
		{"a CA is never renewed", container("x", "", "ca"), nil},
		{"everything", container("x", "", "kubernetes"), all},
		{"a directory of certificates", container("x", "", "etcd"), []string{"etcd-healthcheck-client", "etcd-peer", "etcd-server"}},
		{"a directory, and what is read in it is named", container("x", "args: [--cert=/in/pki/apiserver.crt, --key, /in/pki/apiserver.key]", "pki"), []string{"apiserver"}},
		{"named in the environment", container("x", "env: [{name: A, value: /in/pki/etcd/peer.crt}]", "pki"), []string{"etcd-peer"}},
		{"a file, and a directory in which another is named", container("x", "command: [x, /in/pki/apiserver.crt]", "pki", "admin"), []string{"admin.conf", "apiserver"}},
		{"a directory far above", container("x", "", "etc"), nil},
		{"a directory far above, and named", container("x", "args: [/in/etc/kubernetes/scheduler.conf]", "etc"), []string{"scheduler.conf"}},
		{"the kubelet's own", container("x", "", "var"), nil},
		{"nothing of ours", container("x", ""), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := pkitest.New(t, time.Now())
			if err := errors.Join(os.Mkdir(n.Path("/srv"), 0o755), os.Symlink("/etc/kubernetes/admin.conf", n.Path("/srv/link"))); err != nil {
				t.Fatal(err)
			}
			n.Write("/etc/kubernetes/manifests/x.yaml", pod("x", paths, tt.container))
			layout, problems := pki.Locate(pki.Options{Root: n.Root})
			if problems != nil {
				t.Fatal(problems)
			}
			var got []string
			for _, h := range layout.Holders() {
				if h.Name() != "x" {
					t.Errorf("%+v is a holder", h)
				}
				for _, m := range h.Mounts {
					got = append(got, m.Certificate)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("certificates (-want +got):\n%s", diff)
			}
		})
	}
}

// Every container of a pod counts for itself, and of kubeadm's pods those that somebody
// has patched in.
func TestHoldersNames(t *testing.T) {
	n := pkitest.New(t, time.Now())
	volumes := map[string]string{"admin": "/etc/kubernetes/admin.conf", "scheduler": "/etc/kubernetes/scheduler.conf"}
	n.Write("/etc/kubernetes/manifests/kube-vip.yaml", pod("kube-vip", volumes, container("kube-vip", "", "admin"), container("metrics", "", "scheduler"), container("none", "")))
	n.Write("/etc/kubernetes/manifests/kube-scheduler.yaml", pod("kube-scheduler", volumes, container("sidecar", "", "admin"), container("kube-scheduler", "", "scheduler")))
	layout, _ := pki.Locate(pki.Options{Root: n.Root})
	want := []pki.Holder{
		{Pod: "kube-scheduler", Container: "sidecar", Mounts: []pki.Mount{{Certificate: "admin.conf", HostPath: "/etc/kubernetes/admin.conf"}}},
		{Pod: "kube-vip", Container: "kube-vip", Mounts: []pki.Mount{{Certificate: "admin.conf", HostPath: "/etc/kubernetes/admin.conf"}}},
		{Pod: "kube-vip", Container: "metrics", Mounts: []pki.Mount{{Certificate: "scheduler.conf", HostPath: "/etc/kubernetes/scheduler.conf"}}},
	}
	if diff := cmp.Diff(want, layout.Holders()); diff != "" {
		t.Errorf("holders (-want +got):\n%s", diff)
	}
	for i, name := range []string{"kube-scheduler/sidecar", "kube-vip", "kube-vip/metrics"} {
		if got := layout.Holders()[i].Name(); got != name {
			t.Errorf("%+v is called %q, want %q", want[i], got, name)
		}
	}
	// A file that a container has mounted alone is never renamed over, whichever it is.
	if !layout.MountedAlone("/etc/kubernetes/admin.conf") {
		t.Error("admin.conf is mounted alone, by a sidecar")
	}
}
