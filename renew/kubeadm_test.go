package renew_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
)

// script writes a program that stands for kubeadm.
func script(t *testing.T, mode os.FileMode, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeadm")
	// A test beside this one that forks now would keep the file open for writing, and so
	// from being run (golang.org/issue/22315).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKubeadmErrors(t *testing.T) {
	tests := []struct {
		name string
		path func(*testing.T) string
		want []string
	}{
		{"missing", func(t *testing.T) string { return filepath.Join(t.TempDir(), "kubeadm") },
			[]string{"certs renew apiserver --config", "no such file", "set renew.kubeadm"}},
		{"not in PATH", func(*testing.T) string { return "no-such-kubeadm" },
			[]string{"not found in $PATH", "install kubeadm"}},
		{"not executable", func(t *testing.T) string { return script(t, 0o644, "") },
			[]string{"permission denied", "not executable"}},
		{"fails", func(t *testing.T) string { return script(t, 0o755, "echo CA key not found >&2; exit 1") },
			[]string{"exit status 1", "CA key not found"}},
		{"killed", func(t *testing.T) string { return script(t, 0o755, "kill -9 $$") },
			[]string{"signal: killed"}},
		{"hangs", func(t *testing.T) string { return script(t, 0o755, "echo asking; sleep 600") },
			[]string{"did not end within 300ms and was killed", "asking"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := renew.Kubeadm{Path: tt.path(t), Timeout: 300 * time.Millisecond}
			if tt.name != "hangs" {
				k.Timeout = 20 * time.Second
			}
			_, err := k.Renew(t.Context(), "apiserver", "/config.yaml")
			var kubeadm *renew.KubeadmError
			if !errors.As(err, &kubeadm) {
				t.Fatalf("error %v is no KubeadmError", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// A kubeadm that hangs goes with all that it has started: what outlived it would still
// write when the certificate has been put back.
func TestKubeadmHangsWithItsChildren(t *testing.T) {
	file := filepath.Join(t.TempDir(), "written")
	k := renew.Kubeadm{Path: script(t, 0o755, "(sleep 0.6; echo late >"+file+") & sleep 600"), Timeout: 200 * time.Millisecond}
	if _, err := k.Renew(t.Context(), "apiserver", "/config.yaml"); err == nil {
		t.Fatal("it did not hang")
	}
	time.Sleep(time.Second)
	if _, err := os.Stat(file); err == nil {
		t.Error("its child has written after it was killed")
	}
}

func TestKubeadmArguments(t *testing.T) {
	t.Setenv("KUBECONFIG", "/somebody/elses")
	k := renew.Kubeadm{Path: script(t, 0o755, `echo "$@" "[$KUBECONFIG]"`), Timeout: 20 * time.Second}
	out, err := k.Renew(t.Context(), "etcd-server", "/state/configuration.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := "certs renew etcd-server --config /state/configuration.yaml []\n"; out != want {
		t.Errorf("kubeadm was run with %q, want %q", out, want)
	}
}

func TestKubeadmMakes(t *testing.T) {
	k := renew.Kubeadm{Path: script(t, 0o755, `echo "$@"`), Timeout: 20 * time.Second}
	for name, want := range map[string]string{
		"etcd-server":             "init phase certs etcd-server --config /c.yaml\n",
		"controller-manager.conf": "init phase kubeconfig controller-manager --config /c.yaml --kubeconfig-dir /d\n",
	} {
		if out, err := k.Make(t.Context(), name, "/c.yaml", "/d"); err != nil || out != want {
			t.Errorf("kubeadm was run with %q (%v), want %q", out, err, want)
		}
	}
}

// A kubeadm that is writing is not interrupted: it writes the key before the
// certificate.
func TestKubeadmOutlivesCancellation(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k := renew.Kubeadm{Path: script(t, 0o755, "sleep 0.1; echo done"), Timeout: 20 * time.Second}
	if out, err := k.Renew(ctx, "apiserver", "/config.yaml"); err != nil || out != "done\n" {
		t.Errorf("Renew = %q, %v; want it to finish", out, err)
	}
}

func TestKubeadmTalksTooMuch(t *testing.T) {
	k := renew.Kubeadm{Path: script(t, 0o755, "yes | head -c 1000000"), Timeout: 20 * time.Second}
	out, err := k.Renew(t.Context(), "apiserver", "/config.yaml")
	if err != nil || len(out) != 64<<10 {
		t.Errorf("kept %d bytes, %v; want the first 64 KiB", len(out), err)
	}
}

func TestKubeadmVersion(t *testing.T) {
	tests := []struct{ prints, version, err string }{
		{"v1.36.3", "v1.36.3", ""},
		{"v1.31.0-rc.1", "v1.31.0-rc.1", ""},
		{"v1.19.16", "v1.19.16", "v1.19.16, which cannot renew single certificates"},
		{"hello", "", "did not print a version: hello"},
		{"", "", "did not print a version"},
	}
	for _, tt := range tests {
		k := renew.Kubeadm{Path: script(t, 0o755, "echo '"+tt.prints+"'"), Timeout: 20 * time.Second}
		version, err := k.Version(t.Context())
		if version != tt.version {
			t.Errorf("%q: version %q, want %q", tt.prints, version, tt.version)
		}
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: error %v, want %q", tt.prints, err, tt.err)
		}
	}
}
