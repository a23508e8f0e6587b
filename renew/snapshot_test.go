package renew_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubecertd/kubecertd/renew"
)

// Before kubeadm writes the first file, a copy of each that it may change is kept,
// for root alone.
func TestSnapshot(t *testing.T) {
	n := newFakeNode(t)
	before := map[string][]byte{}
	for _, name := range renewable {
		for _, file := range []string{n.files.Certificate(name), n.files.Key(name)} {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			before[strings.TrimPrefix(file, n.files.Root)] = content
		}
	}
	// What kubeadm finds on disk when it runs is what the operator will find.
	n.instead("admin.conf", "ls "+n.State.Dir+"/snapshots/*/manifest.json || exit 1\ncp -r "+n.dir+"/new/$name/. "+n.files.Root+"/")
	id, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(n.State.Dir, "snapshots", id)
	manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var snapshot renew.Snapshot
	if err := json.Unmarshal(manifest, &snapshot); err != nil || len(snapshot.Files) != len(before)+3 {
		t.Fatalf("manifest of %d files, %v; want %d and the CAs", len(snapshot.Files), err, len(before))
	}
	for _, c := range snapshot.Files {
		if strings.HasSuffix(c.Path, "ca.crt") {
			continue
		}
		got, err := os.ReadFile(filepath.Join(dir, c.Path))
		if err != nil || !bytes.Equal(got, before[c.Path]) {
			t.Errorf("%s: %v; want what was there before", c.Path, err)
		}
		if c.Mode == 0 || len(c.SHA256) != 64 {
			t.Errorf("manifest of %s: %+v", c.Path, c)
		}
	}
	err = filepath.WalkDir(filepath.Join(n.State.Dir, "snapshots"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others: %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What cannot be copied is not changed.
func TestSnapshotFails(t *testing.T) {
	n := newFakeNode(t)
	if err := os.WriteFile(filepath.Join(n.State.Dir, "snapshots"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "nothing was changed") || len(n.calls()) > 0 || len(n.done()) > 0 {
		t.Errorf("error %v, renewals %q, steps %q; want nothing done", err, n.calls(), n.done())
	}
}

// Keys are not kept for ever.
func TestSnapshotsAreBounded(t *testing.T) {
	n := newFakeNode(t)
	var last string
	for range 13 {
		id, _, err := n.Act(t.Context(), renew.Wish{Names: []string{"admin.conf"}}, "command")
		if err == nil && id != "" {
			last = id
		}
		n.renewAgain("admin.conf")
	}
	entries, err := os.ReadDir(filepath.Join(n.State.Dir, "snapshots"))
	if err != nil || len(entries) != 10 || entries[9].Name() != last {
		t.Errorf("%d snapshots, %v, the last %s; want 10 and %s", len(entries), err, entries[len(entries)-1].Name(), last)
	}
}
