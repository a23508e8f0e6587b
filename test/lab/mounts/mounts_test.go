//go:build linux

package mounts_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kubecertd/kubecertd/test/lab/mounts"
)

func TestRemoveTreeStopsAtMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	precious, dir := t.TempDir(), t.TempDir()
	file := filepath.Join(precious, "file")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	point := filepath.Join(dir, "with space", "mnt")
	if err := os.MkdirAll(point, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(precious, point, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(point, unix.MNT_DETACH) })

	if err := mounts.RemoveTree(dir); err == nil {
		t.Error("removed a tree with a mount in it")
	}
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("what was mounted is gone: %v", err)
	}
	if err := mounts.Unmount(dir); err != nil {
		t.Fatal(err)
	}
	if err := mounts.RemoveTree(dir); err != nil {
		t.Errorf("after unmounting: %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("what was mounted is gone: %v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the tree is still there: %v", err)
	}
}
