package runtime_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubecertd/kubecertd/runtime"
)

func TestLocate(t *testing.T) {
	const (
		config   = "/var/lib/kubelet/config.yaml"
		instance = "/var/lib/kubelet/instance-config.yaml"
		flags    = "/var/lib/kubelet/kubeadm-flags.env"
		yes      = "containerRuntimeEndpoint: unix:///run/config.sock\n"
	)
	kubelet := func(arguments ...string) map[string]string {
		return map[string]string{"/proc/812/comm": "kubelet\n", "/proc/812/cmdline": strings.Join(arguments, "\x00") + "\x00"}
	}
	with := func(files map[string]string, more ...string) map[string]string {
		for i := 0; i < len(more); i += 2 {
			files[more[i]] = more[i+1]
		}
		return files
	}
	tests := []struct {
		name             string
		files            map[string]string
		endpoint, source string
		err              string
	}{
		{"the running kubelet's flag", with(kubelet("/usr/bin/kubelet", "--config="+config, "--container-runtime-endpoint=unix:///run/flag.sock"), config, yes),
			"unix:///run/flag.sock", "the kubelet's command line (process 812)", ""},
		{"as two arguments, a path alone", kubelet("/usr/bin/kubelet", "--container-runtime-endpoint", "/run/flag.sock"),
			"unix:///run/flag.sock", "the kubelet's command line (process 812)", ""},
		{"the last flag counts", kubelet("kubelet", "--container-runtime-endpoint=unix:///run/a.sock", "--container-runtime-endpoint=unix:///run/b.sock"),
			"unix:///run/b.sock", "the kubelet's command line (process 812)", ""},
		{"the file that the kubelet names", with(kubelet("kubelet", "--config=/etc/kubelet.yaml"), "/etc/kubelet.yaml", yes, config, "containerRuntimeEndpoint: unix:///run/other.sock\n"),
			"unix:///run/config.sock", "/etc/kubelet.yaml", ""},
		{"config.yaml", map[string]string{config: "kind: KubeletConfiguration\n" + yes, flags: `KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///run/env.sock"`},
			"unix:///run/config.sock", config, ""},
		{"instance-config.yaml", map[string]string{config: "containerRuntimeEndpoint: \"\"\n", instance: `containerRuntimeEndpoint: "unix:///var/run/containerd/containerd.sock"`},
			"unix:///var/run/containerd/containerd.sock", instance, ""},
		{"kubeadm-flags.env", map[string]string{flags: "# x\nKUBELET_KUBEADM_ARGS=\"--container-runtime-endpoint=unix:///var/run/crio/crio.sock --pod-infra-container-image=registry.k8s.io/pause:3.9\"\n"},
			"unix:///var/run/crio/crio.sock", flags, ""},
		{"an unreadable file is passed over", map[string]string{config: "{{", instance: yes},
			"unix:///run/config.sock", instance, ""},
		{"a usual socket", map[string]string{"/run/crio/crio.sock": "socket"}, "unix:///run/crio/crio.sock", "the usual place", ""},
		{"a file is not a socket", map[string]string{"/run/crio/crio.sock": "file"}, "", "", "no socket at "},
		{"another program of that name does not help", map[string]string{"/proc/9/comm": "kubelet-x\n", "/proc/9/cmdline": "x\x00--container-runtime-endpoint=unix:///run/x.sock\x00"},
			"", "", "no kubelet is running"},
		{"not a socket's address", map[string]string{config: "containerRuntimeEndpoint: tcp://127.0.0.1:1234\n"},
			"", "", config + `: container runtime endpoint "tcp://127.0.0.1:1234" is no unix socket: expected something like unix:///run/containerd/containerd.sock`},
		{"nothing", nil, "", "", "container runtime not found: no kubelet is running; " + config + ": does not exist; " + instance + ": does not exist; " +
			flags + " does not exist; no socket at /run/containerd/containerd.sock, /run/crio/crio.sock, /run/cri-dockerd.sock: set runtime.endpoint if it is elsewhere"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for path, content := range tt.files {
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if content == "socket" {
					l, err := net.Listen("unix", path)
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = l.Close() }()
					continue
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			endpoint, source, err := runtime.Locate(root)
			if endpoint != tt.endpoint || source != tt.source {
				t.Errorf("got %q from %q (%v), want %q from %q", endpoint, source, err, tt.endpoint, tt.source)
			}
			switch {
			case (err == nil) != (tt.err == ""):
				t.Errorf("error %v, want %q", err, tt.err)
			case err != nil && !strings.Contains(err.Error(), tt.err):
				t.Errorf("error\n%v, want in it\n%s", err, tt.err)
			}
		})
	}
}

// A kubelet in a container of its own (kind) is not this node's.
func TestLocateForeignKubelet(t *testing.T) {
	root := t.TempDir()
	for pid, numbers := range map[string]string{"50": "50\t7", "60": "60"} {
		dir := filepath.Join(root, "proc", pid)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{
			"comm":    "kubelet\n",
			"status":  "Name:\tkubelet\nNSpid:\t" + numbers + "\nSeccomp:\t0\n",
			"cmdline": "kubelet\x00--container-runtime-endpoint=unix:///run/" + pid + ".sock\x00",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	endpoint, _, err := runtime.Locate(root)
	if err != nil || endpoint != "unix:///run/60.sock" {
		t.Errorf("got %q, %v, want the kubelet of this namespace", endpoint, err)
	}
}
