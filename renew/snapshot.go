package renew

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// keepSnapshots is how many snapshots are kept, the newest always among them.
const keepSnapshots = 10

// Copied is one file of a snapshot, as it was.
type Copied struct {
	Path   string      `json:"path"` // on the host; the copy has the same path under the snapshot
	Mode   fs.FileMode `json:"mode"`
	UID    uint32      `json:"uid"`
	GID    uint32      `json:"gid"`
	SHA256 string      `json:"sha256"`
}

// snapshot copies every file that the renewals may change, keys included, and
// returns when the copies have reached the disk: kubeadm writes in place, without a
// copy of its own (client-go: util/cert/io.go).
func (s State) snapshot(id, root string, o Observation, renewals []Renewal) (dir string, err error) {
	dir = s.path("snapshots", id)
	defer func() {
		if err != nil {
			err = fmt.Errorf("snapshot %s: %w: nothing was changed", dir, errors.Join(err, os.RemoveAll(dir)))
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return dir, err
	}
	var copies []Copied
	for _, file := range files(o, renewals) {
		c, err := copyFile(filepath.Join(root, file), filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a key that is gone is what the renewal cures
		}
		if err != nil {
			return dir, err
		}
		c.Path = file
		copies = append(copies, c)
	}
	manifest, err := json.MarshalIndent(copies, "", "  ")
	if err != nil {
		return dir, err
	}
	if err := writeSynced(filepath.Join(dir, "manifest.json"), manifest); err != nil {
		return dir, err
	}
	if err := syncTree(s.path("snapshots")); err != nil {
		return dir, err
	}
	s.pruneSnapshots()
	return dir, nil
}

// putBack restores the files of one certificate from the snapshot. They are written in
// place, because kubeconfigs are mounted into containers as single files, and a file
// renamed over them would not be seen there (kubeadm: phases/controlplane/volumes.go).
func (r *run) putBack(snapshot, root string, o Observation, renewal Renewal) (err error) {
	step := "put back " + renewal.Certificate
	if err := r.begin(step, "what kubeadm wrote was refused"); err != nil {
		r.log.Error("the run's record could not be written; the certificate is put back all the same", zap.Error(err))
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("it could not be put back from %s: %w", snapshot, err)
		}
		err = errors.Join(err, r.end(step, snapshot, "", err))
	}()
	for _, file := range files(o, []Renewal{renewal}) {
		content, err := os.ReadFile(filepath.Join(snapshot, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // there was none
		}
		if err != nil {
			return err
		}
		target := filepath.Join(root, file)
		// An existing file keeps its mode and owner.
		f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(content)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
		if written, err := os.ReadFile(target); err != nil || !bytes.Equal(written, content) {
			return fmt.Errorf("%s does not hold what was written to it: %w", file, err)
		}
		// It was not written anew, so nobody has to read it anew.
		if info, err := os.Stat(filepath.Join(snapshot, file)); err == nil {
			_ = os.Chtimes(target, info.ModTime(), info.ModTime())
		}
	}
	r.log.Warn("certificate put back as it was", event(EventPutBack), zap.String("certificate", renewal.Certificate), zap.String("snapshot", snapshot))
	return nil
}

// files are the files that hold the certificates to be renewed, and their keys.
func files(o Observation, renewals []Renewal) []string {
	var list []string
	for _, r := range renewals {
		c, _ := o.Certificate(r.Certificate)
		for _, file := range []string{c.Path, keyFile(c)} {
			if file != "" && !slices.Contains(list, file) {
				list = append(list, file)
			}
		}
	}
	return list
}

// keyFile is where kubeadm will write the key: beside the certificate when the one
// that was there could not be read.
func keyFile(c pki.Certificate) string {
	if c.KeyPath == "" && c.Kind == pki.PEM {
		return c.Path[:len(c.Path)-len(filepath.Ext(c.Path))] + ".key"
	}
	return c.KeyPath
}

func copyFile(from, to string) (Copied, error) {
	info, err := os.Stat(from)
	if err != nil {
		return Copied{}, err
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return Copied{}, err
	}
	sum := sha256.Sum256(content)
	c := Copied{Mode: info.Mode().Perm(), SHA256: hex.EncodeToString(sum[:])}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		c.UID, c.GID = owner.Uid, owner.Gid
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return c, err
	}
	if err := writeSynced(to, content); err != nil {
		return c, err
	}
	return c, os.Chtimes(to, info.ModTime(), info.ModTime())
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

// syncTree makes the names of all files under a directory, and its own, durable.
func syncTree(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncDir(path)
	})
	return errors.Join(err, syncDir(filepath.Dir(dir)))
}

// pruneSnapshots removes the oldest. One that cannot be removed is in nobody's way.
func (s State) pruneSnapshots() {
	entries, _ := os.ReadDir(s.path("snapshots")) // sorted by name, and so by time
	for len(entries) > keepSnapshots {
		_ = os.RemoveAll(s.path("snapshots", entries[0].Name()))
		entries = entries[1:]
	}
}
