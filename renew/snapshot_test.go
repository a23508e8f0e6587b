package renew_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
)

// Before kubeadm writes the first file, a copy of each that it may change is kept,
// for root alone.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	before := map[string][]byte{}
	before[kubeletConf] = []byte(file(t, n.files.Path(kubeletConf)))
	for _, name := range append(slices.Clone(renewable), "kubelet-client", "kubelet-server") {
		for _, file := range []string{n.files.Certificate(name), n.files.Key(name)} {
			content, err := os.ReadFile(resolve(n, strings.TrimPrefix(file, n.files.Root)))
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
	t.Parallel()
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
	t.Parallel()
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

// What equals the newest snapshot is not copied again, so that a run that fails again
// and again does not push the older ones out.
func TestSnapshotOnlyWhenChanged(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.instead("admin.conf", "echo no >&2; exit 1")
	wish := renew.Wish{Names: []string{"admin.conf"}}
	n.only("admin.conf")
	for range 5 {
		if _, _, err := n.Act(t.Context(), wish, "command"); err == nil {
			t.Fatal("no error")
		}
	}
	list, err := n.State.Snapshots()
	if err != nil || len(list) != 1 {
		t.Fatalf("%d snapshots, %v; want one", len(list), err)
	}
	runs, _ := n.State.History()
	for _, run := range runs {
		if !slices.ContainsFunc(run.Entries, func(e renew.Entry) bool { return e.Snapshot == list[0].ID }) {
			t.Errorf("run %s does not name the snapshot it would put back", run.ID)
		}
	}
	// A damaged one is no copy to rely on.
	n.mustDo(os.WriteFile(filepath.Join(n.State.Dir, "snapshots", list[0].ID, "etc/kubernetes/admin.conf"), []byte("x"), 0o600))
	if _, _, err := n.Act(t.Context(), wish, "command"); err == nil {
		t.Fatal("no error")
	}
	list, err = n.State.Snapshots()
	if len(list) != 1 || err == nil || !strings.Contains(err.Error(), "the copy of /etc/kubernetes/admin.conf is not what was copied") {
		t.Errorf("%d good snapshots, %v; want one, and the other named", len(list), err)
	}
}

// Old snapshots are removed, but never the newest good one.
func TestSnapshotsRetention(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.Retention = renew.Retention{Keep: 3, Age: 30 * day}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	first, _ := n.State.Snapshots()
	dir := filepath.Join(n.State.Dir, "snapshots")
	// One that was never finished, and two that are newer than the good one and damaged.
	n.mustDo(os.MkdirAll(filepath.Join(dir, "20260101T000000.000Z-abcdef.partial"), 0o700),
		os.MkdirAll(filepath.Join(dir, "20991231T000000.000Z-000001"), 0o700), os.MkdirAll(filepath.Join(dir, "20991231T000000.000Z-000002"), 0o700))
	n.State.PruneSnapshots(n.Retention, time.Now().Add(400*day))
	var left []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if !slices.Contains(left, first[0].ID) {
		t.Errorf("left %q, want the good one %s among them", left, first[0].ID)
	}
	if slices.ContainsFunc(left, func(name string) bool { return strings.HasSuffix(name, ".partial") }) {
		t.Errorf("left %q: what was never finished is still there", left)
	}
	// The next good one replaces it.
	n.mustDo(os.RemoveAll(filepath.Join(dir, "20991231T000000.000Z-000001")), os.RemoveAll(filepath.Join(dir, "20991231T000000.000Z-000002")))
	n.renewAgain("admin.conf")
	if _, _, err := n.Act(t.Context(), renew.Wish{Names: []string{"admin.conf"}}, "command"); err != nil {
		t.Fatal(err)
	}
	n.State.PruneSnapshots(n.Retention, time.Now().Add(400*day))
	if list, err := n.State.Snapshots(); err != nil || len(list) != 1 || list[0].ID == first[0].ID {
		t.Errorf("%d snapshots, %v; want the newer one alone", len(list), err)
	}
}

// Owners, modes, links and times come back with the content, kubeconfigs in place.
func TestPutBackAsItWas(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	n := newFakeNode(t)
	certificate, kubeconfig := n.files.Certificate("apiserver"), n.files.Certificate("scheduler.conf")
	target := filepath.Join(n.files.Root, "etc/kubernetes/pki/real-apiserver.crt")
	n.mustDo(os.Rename(certificate, target), os.Symlink("real-apiserver.crt", certificate),
		os.Chmod(target, 0o640), os.Chown(target, 12, 34), os.Chmod(kubeconfig, 0o440))
	old := time.Now().Add(-100 * day).Truncate(time.Second)
	n.mustDo(os.Chtimes(target, old, old), os.Chtimes(kubeconfig, old, old))
	content, inode := n.read(certificate), stat(t, kubeconfig).Ino
	for name, first := range map[string]string{"apiserver": "rm " + certificate, "scheduler.conf": "true"} {
		n.instead(name, first+"; echo broken >"+n.files.Certificate(name)+"; chmod 777 "+n.files.Certificate(name)+"; chown 0:0 "+n.files.Certificate(name))
	}
	if _, _, err := n.Act(t.Context(), renew.Wish{Names: []string{"apiserver", "scheduler.conf"}}, "command"); err == nil {
		t.Fatal("no error")
	}
	if link, err := os.Readlink(certificate); err != nil || link != "real-apiserver.crt" {
		t.Errorf("the link is %q, %v", link, err)
	}
	for file, want := range map[string][3]uint32{target: {0o640, 12, 34}, kubeconfig: {0o440, 0, 0}} {
		s := stat(t, file)
		if s.Mode&0o777 != want[0] || s.Uid != want[1] || s.Gid != want[2] || s.Mtim.Sec != old.Unix() {
			t.Errorf("%s: mode %o, owner %d:%d, time %s; want %v and %s", file, s.Mode&0o777, s.Uid, s.Gid, time.Unix(s.Mtim.Sec, 0), want, old)
		}
	}
	if !bytes.Equal(n.read(certificate), content) {
		t.Error("the certificate is not what it was")
	}
	if now := stat(t, kubeconfig).Ino; now != inode {
		t.Error("a kubeconfig was replaced, which a container that has it mounted would not see")
	}
}

// A key that was not there before is not there afterwards.
func TestPutBackAbsent(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.files.Remove(n.files.Key("apiserver"))
	n.instead("apiserver", "echo broken >"+n.files.Certificate("apiserver")+"; echo key >"+n.files.Key("apiserver"))
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Stat(n.files.Key("apiserver")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the key that kubeadm made is still there: %v", err)
	}
}

func stat(t *testing.T, file string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t)
}
