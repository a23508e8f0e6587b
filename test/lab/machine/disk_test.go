//go:build linux

package machine

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestCloneTree(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	large := bytes.Repeat([]byte("binary"), shareFrom/6+1)
	for name, data := range map[string][]byte{"blob": large, "meta.db": large, "small": []byte("config")} {
		if err := os.WriteFile(filepath.Join(from, name), data, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(from, "private"), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("small", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	if err := cloneTree(from, to); err != nil {
		t.Fatal(err)
	}

	// What is only read is shared; what its owner writes into is not.
	for name, shared := range map[string]bool{"blob": true, "meta.db": false, "small": false} {
		source, err := os.Stat(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		clone, err := os.Stat(filepath.Join(to, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := os.SameFile(source, clone); got != shared {
			t.Errorf("%s shared = %v, want %v", name, got, shared)
		}
		if clone.Mode() != source.Mode() || clone.Size() != source.Size() {
			t.Errorf("%s is %s of %d bytes, want %s of %d", name, clone.Mode(), clone.Size(), source.Mode(), source.Size())
		}
	}
	if info, err := os.Stat(filepath.Join(to, "private")); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("folder: %v (%v), want mode 0711", info, err)
	}
	if target, err := os.Readlink(filepath.Join(to, "link")); err != nil || target != "small" {
		t.Errorf("link to %q (%v), want small", target, err)
	}
}
