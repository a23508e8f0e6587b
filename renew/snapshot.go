package renew

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Snapshot is a copy of every file that a run may change on this node, and of the
// CAs' certificates, by which the copies can be judged later. CA keys are not copied.
type Snapshot struct {
	ID    string    `json:"id"` // that of the run that took it, where one did
	Taken time.Time `json:"taken"`
	Files []Copied  `json:"files"`

	dir string
}

// Copied is one file of a snapshot, as it was.
type Copied struct {
	// Certificate is the name of the certificate that the file holds, or the key of.
	Certificate string `json:"certificate"`
	// Path is the file on the host; the copy has the same path under the snapshot.
	Path string `json:"path"`
	// Link is what the path pointed at, where it was a symbolic link.
	Link string `json:"link,omitempty"`
	// Absent says that there was no such file; nothing of the below is set then.
	Absent   bool        `json:"absent,omitempty"`
	Mode     fs.FileMode `json:"mode,omitempty"` // permissions only
	UID      uint32      `json:"uid"`
	GID      uint32      `json:"gid"`
	Size     int64       `json:"size"` // bytes
	Modified time.Time   `json:"modified,omitzero"`
	SHA256   string      `json:"sha256,omitempty"` // lower-case hex
}

// Retention says how many snapshots are kept, and for how long. The newest that is
// whole is always kept.
type Retention struct {
	Keep int
	Age  time.Duration // 0 is for ever
}

const (
	snapshots    = "snapshots"
	manifestName = "manifest.json"
	// partial ends the name of a snapshot that is being taken.
	partial = ".partial"
)

// snapshot copies what kubeadm may change, and returns when the copies have reached
// the disk: kubeadm writes in place, without a copy of its own (client-go:
// util/cert/io.go). Where nothing has changed since the newest snapshot that one is
// returned, so that a run that fails again and again does not push the older ones
// out.
func (s State) snapshot(id string, now time.Time, layout pki.Layout, certificates []pki.Certificate) (snap Snapshot, err error) {
	dir := s.path(snapshots, id)
	temporary := dir + partial
	defer func() {
		if err != nil {
			err = fmt.Errorf("snapshot %s: %w: nothing was changed", dir, errors.Join(err, os.RemoveAll(temporary)))
		}
	}()
	if err := os.MkdirAll(temporary, 0o700); err != nil {
		return snap, err
	}
	snap = Snapshot{ID: id, Taken: now.UTC().Truncate(time.Millisecond), dir: dir}
	for _, f := range files(certificates) {
		if f, err = copyFile(f, layout, temporary); err != nil {
			return snap, err
		}
		snap.Files = append(snap.Files, f)
	}
	if newest, err := s.newest(); err == nil && reflect.DeepEqual(newest.Files, snap.Files) {
		return newest, os.RemoveAll(temporary)
	}
	manifest, err := json.MarshalIndent(snap, "", "  ")
	if err != nil {
		return snap, err
	}
	if err := writeSynced(filepath.Join(temporary, manifestName), manifest); err != nil {
		return snap, err
	}
	if err := syncTree(temporary); err != nil {
		return snap, err
	}
	// Only a whole snapshot has its name.
	if err := os.Rename(temporary, dir); err != nil {
		return snap, err
	}
	return snap, errors.Join(syncDir(s.path(snapshots)), syncDir(s.Dir))
}

// Snapshot reads one snapshot and checks every copy against the manifest. An error
// names the file that is damaged; the snapshot is returned with it as far as it
// could be read.
func (s State) Snapshot(id string) (Snapshot, error) {
	snap, err := s.manifest(id)
	if err != nil {
		return snap, err
	}
	for _, f := range snap.Files {
		if _, err := snap.content(f); err != nil {
			return snap, err
		}
	}
	return snap, nil
}

// manifest reads what a snapshot holds, without its copies.
func (s State) manifest(id string) (Snapshot, error) {
	if id == "" || id != filepath.Base(id) || strings.HasPrefix(id, ".") {
		return Snapshot{}, fmt.Errorf("%q is no id of a snapshot", id)
	}
	dir := s.path(snapshots, id)
	content, _, err := pki.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return Snapshot{ID: id}, fmt.Errorf("snapshot %s: %s: %w", id, filepath.Join(dir, manifestName), err)
	}
	snap, err := parseManifest(content)
	if err != nil {
		return Snapshot{ID: id}, fmt.Errorf("snapshot %s: %s: %w", id, filepath.Join(dir, manifestName), err)
	}
	snap.ID, snap.dir = id, dir
	return snap, nil
}

// Snapshots reads all, oldest first. Those that are damaged are named in the error.
func (s State) Snapshots() ([]Snapshot, error) {
	var list []Snapshot
	var damaged []error
	for _, id := range s.snapshotIDs() {
		snap, err := s.Snapshot(id)
		if err != nil {
			damaged = append(damaged, err)
			continue
		}
		list = append(list, snap)
	}
	return list, errors.Join(damaged...)
}

// newest is the newest snapshot that is whole.
func (s State) newest() (Snapshot, error) {
	for _, id := range slices.Backward(s.snapshotIDs()) {
		if snap, err := s.Snapshot(id); err == nil {
			return snap, nil
		}
	}
	return Snapshot{}, errors.New("there is no snapshot")
}

// snapshotIDs are sorted by name, and so by time.
func (s State) snapshotIDs() []string {
	entries, _ := os.ReadDir(s.path(snapshots))
	var ids []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasSuffix(e.Name(), partial) {
			ids = append(ids, e.Name())
		}
	}
	return ids
}

// parseManifest reads a manifest and refuses one that snapshot cannot have written.
func parseManifest(content []byte) (Snapshot, error) {
	var snap Snapshot
	if err := json.Unmarshal(content, &snap); err != nil {
		return Snapshot{}, fmt.Errorf("cannot be parsed: %w", err)
	}
	seen := map[string]bool{}
	for _, f := range snap.Files {
		sum, err := hex.DecodeString(f.SHA256)
		switch {
		case !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/":
			return Snapshot{}, fmt.Errorf("names %q, which is no path of a file", f.Path)
		case seen[f.Path]:
			return Snapshot{}, fmt.Errorf("names %s twice", f.Path)
		case f.Absent != (f.SHA256 == "") || err != nil || (len(sum) != 0 && len(sum) != sha256.Size):
			return Snapshot{}, fmt.Errorf("has no SHA-256 of %s", f.Path)
		case f.Mode&^fs.ModePerm != 0 || f.Size < 0:
			return Snapshot{}, fmt.Errorf("has an impossible mode or size of %s", f.Path)
		}
		seen[f.Path] = true
	}
	if len(snap.Files) == 0 {
		return Snapshot{}, errors.New("names no file")
	}
	return snap, nil
}

// content is a copy, checked.
func (s Snapshot) content(f Copied) ([]byte, error) {
	if f.Absent {
		return nil, nil
	}
	content, _, err := pki.ReadFile(filepath.Join(s.dir, f.Path))
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: the copy of %s: %w", s.ID, f.Path, err)
	}
	if checksum(content) != f.SHA256 {
		return nil, fmt.Errorf("snapshot %s: the copy of %s is not what was copied: its SHA-256 differs from the manifest's", s.ID, f.Path)
	}
	return content, nil
}

// of are the files of one certificate.
func (s Snapshot) of(certificate string) []Copied {
	return slices.DeleteFunc(slices.Clone(s.Files), func(f Copied) bool { return f.Certificate != certificate })
}

// has says whether there is a good copy of every file of a certificate.
func (s Snapshot) has(certificate string) bool {
	copies := s.of(certificate)
	return len(copies) > 0 && !slices.ContainsFunc(copies, func(f Copied) bool {
		_, err := s.content(f)
		return err != nil
	})
}

// certificates reads the copies as the certificates they were.
func (s Snapshot) certificates(layout pki.Layout) []pki.Certificate {
	layout.Root = s.dir
	return layout.Read(s.Taken)
}

// prune removes the snapshots that are too many or too old, and what was left of
// those that were never finished. One that cannot be removed is in nobody's way.
func (s State) pruneSnapshots(keep Retention, now time.Time) {
	entries, _ := os.ReadDir(s.path(snapshots))
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), partial) {
			_ = os.RemoveAll(s.path(snapshots, e.Name()))
		}
	}
	ids := s.snapshotIDs()
	good, _ := s.newest()
	for i, id := range ids {
		taken, err := time.Parse(idTime, strings.SplitN(id, "-", 2)[0])
		old := keep.Age > 0 && err == nil && now.Sub(taken) > keep.Age
		if id != good.ID && (old || len(ids)-i > max(keep.Keep, 1)) {
			_ = os.RemoveAll(s.path(snapshots, id))
		}
	}
}

// files are the files that hold what kubeadm renews, or the kubelet made itself, with
// their keys, and the CAs'.
func files(certificates []pki.Certificate) []Copied {
	var list []Copied
	for _, c := range certificates {
		paths := []string{c.Path}
		switch {
		case c.Watched:
			continue
		case c.Kind == pki.CA:
		case c.Kubelet != nil:
			paths = []string{c.Kubelet.Kubeconfig, c.Kubelet.Rotating.Path}
		case c.Renewer != pki.Kubeadm && (c.Renewer != pki.Restart || c.Path == ""):
			continue
		default:
			paths = append(paths, keyFile(c))
		}
		for _, p := range paths {
			if p != "" && !slices.ContainsFunc(list, func(f Copied) bool { return f.Path == p }) {
				list = append(list, Copied{Certificate: c.Name, Path: p})
			}
		}
	}
	return list
}

// keyFile is where kubeadm will write the key: beside the certificate when the one
// that was there could not be read.
func keyFile(c pki.Certificate) string {
	if c.KeyPath == "" && c.Kind == pki.PEM {
		return strings.TrimSuffix(c.Path, filepath.Ext(c.Path)) + ".key"
	}
	return c.KeyPath
}

// copyFile copies one file into a directory, and completes what is known about it.
func copyFile(f Copied, layout pki.Layout, dir string) (Copied, error) {
	f.Link, _ = os.Readlink(filepath.Join(layout.Root, f.Path)) // an error says that it is no link
	content, info, err := pki.ReadFile(layout.Resolve(f.Path))
	if errors.Is(err, fs.ErrNotExist) || (err != nil && emptyDirectory(layout.Resolve(f.Path))) {
		f.Absent = true
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("%s: %w", f.Path, err)
	}
	f.Mode, f.Size, f.SHA256 = info.Mode().Perm(), int64(len(content)), checksum(content)
	f.Modified = info.ModTime().UTC()
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		f.UID, f.GID = owner.Uid, owner.Gid
	}
	to := filepath.Join(dir, f.Path)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return f, err
	}
	return f, cmp.Or(writeSynced(to, content), os.Chtimes(to, f.Modified, f.Modified))
}

func checksum(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// writeSynced writes a new file for root alone, and returns when it is on disk.
func writeSynced(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncTree makes the names of all files under a directory durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncDir(path)
	})
}
