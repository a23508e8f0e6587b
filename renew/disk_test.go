package renew_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kubecertd/kubecertd/renew"
)

// mounted mounts a small file system of its own over a directory, with what was there.
func mounted(t *testing.T, dir, options string, flags uintptr) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	if err := syscall.Mount("kubecertd-test", dir, "tmpfs", 0, options); errors.Is(err, syscall.EPERM) {
		t.Skip("mounting is not permitted here")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	if flags != 0 {
		if err := syscall.Mount("kubecertd-test", dir, "tmpfs", flags|syscall.MS_REMOUNT, options); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that could not take a snapshot and a renewal closes the gate before anything
// is written.
func TestRoom(t *testing.T) {
	tests := []struct {
		name, options string
		flags         uintptr
		fill          int // KiB
		err           string
	}{
		{"no room", "size=512k", 0, 300, "KiB left, and a snapshot and a renewal need"},
		{"no inodes", "size=16m,nr_inodes=20", 0, 0, "more files"},
		{"read-only", "size=16m", syscall.MS_RDONLY, 0, "is mounted read-only"},
		{"enough", "size=16m", 0, 300, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newFakeNode(t)
			mounted(t, n.State.Dir, tt.options, tt.flags)
			if tt.fill > 0 {
				n.mustDo(os.WriteFile(filepath.Join(n.State.Dir, "fill"), make([]byte, tt.fill<<10), 0o600))
			}
			look := n.Look(t.Context(), renew.Wish{})
			var reason string
			for _, g := range look.Plan.Blocked {
				if g.Name == "disk" {
					reason = g.Reason
				}
			}
			if (reason == "") != (tt.err == "") || !strings.Contains(reason, tt.err) {
				t.Errorf("the gate says %q, want %q", reason, tt.err)
			}
			if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); (err == nil) != (tt.err == "") || (tt.err != "" && len(n.calls()) > 0) {
				t.Errorf("error %v, kubeadm renewed %q", err, n.calls())
			}
		})
	}
}
