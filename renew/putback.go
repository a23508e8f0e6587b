package renew

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kubecertd/kubecertd/pki"
)

// putBack writes the files of one certificate as the snapshot has them, owner, mode
// and link included, and returns when they are on disk and were read back.
//
// A file that a container sees through a mount of its own is written in place: one
// renamed over it would not be seen there (kubeadm: phases/controlplane/volumes.go
// mounts the kubeconfigs so). Any other is replaced at once.
//
// Where nobody can have read what is being replaced the file gets its old time back,
// so that nobody has to read it anew; loaded says that somebody may have.
func (s Snapshot) putBack(layout pki.Layout, certificate string, loaded bool) error {
	copies := s.of(certificate)
	if len(copies) == 0 {
		return fmt.Errorf("%w of %s in snapshot %q", errNoCopy, certificate, s.ID)
	}
	// All copies are good before the first file is touched.
	contents := make([][]byte, len(copies))
	for i, f := range copies {
		var err error
		if contents[i], err = s.content(f); err != nil {
			return fmt.Errorf("%w: %w", errNoCopy, err)
		}
	}
	// The key first: a component that reads in between finds a pair that does not
	// match, and keeps the one it has, as it does while kubeadm writes.
	for i := len(copies) - 1; i >= 0; i-- {
		if err := copies[i].writeTo(layout, contents[i], loaded); err != nil {
			return fmt.Errorf("%s: %w", copies[i].Path, err)
		}
	}
	return nil
}

// errNoCopy says that a snapshot does not have what is to be put back, which no second
// attempt will change.
var errNoCopy = errors.New("there is no good copy")

// leftover matches the files that a put-back which was cut off has left.
func leftover(target string) string {
	return filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".kubecertd-*")
}

// sweep removes them: they hold keys.
func sweep(target string) error {
	files, err := filepath.Glob(leftover(target))
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

// writeTo makes the file what the copy was.
func (f Copied) writeTo(layout pki.Layout, content []byte, loaded bool) error {
	name := filepath.Join(layout.Root, f.Path)
	if f.Link != "" {
		if err := f.relink(name); err != nil {
			return err
		}
	}
	target := layout.Resolve(f.Path)
	if err := sweep(target); err != nil {
		return err
	}
	if f.Absent {
		if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncGone(target)
	}
	if err := clearDirectory(target); err != nil {
		return err
	}
	write := f.replace
	// kubeadm's kubeconfigs lie in its directory itself.
	if filepath.Dir(f.Path) == layout.KubernetesDir || layout.MountedAlone(f.Path) {
		write = f.overwrite
	}
	if err := write(target, content, loaded); err != nil {
		return err
	}
	written, _, err := pki.ReadFile(target)
	if err != nil {
		return err
	}
	if checksum(written) != f.SHA256 {
		return errors.New("does not hold what was just written to it: is the disk failing?")
	}
	return nil
}

// emptyDirectory says that there is one where a file should be. The container runtime
// makes it when a container starts whose file is not there, and it goes on being in its
// place (containerd: internal/cri/opts/spec_linux_opts.go, WithMounts).
func emptyDirectory(name string) bool {
	entries, err := os.ReadDir(name)
	return err == nil && len(entries) == 0
}

// clearDirectory takes it away. One that holds something is for a person.
func clearDirectory(target string) error {
	if !emptyDirectory(target) {
		return nil
	}
	return os.Remove(target)
}

// relink makes the path the link that it was.
func (f Copied) relink(name string) error {
	if now, err := os.Readlink(name); err == nil && now == f.Link {
		return nil
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(os.Symlink(f.Link, name), syncDir(filepath.Dir(name)))
}

// overwrite writes in place. What is there is overwritten before it is cut to its
// new length, which needs no new room on the disk.
func (f Copied) overwrite(target string, content []byte, loaded bool) error {
	file, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(content, 0)
	if err == nil {
		err = file.Truncate(int64(len(content)))
	}
	return errors.Join(err, f.finish(file, loaded), syncDir(filepath.Dir(target)))
}

// replace puts another file in the target's place.
func (f Copied) replace(target string, content []byte, loaded bool) error {
	file, err := os.CreateTemp(filepath.Dir(target), filepath.Base(leftover(target)))
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, f.finish(file, loaded)); err == nil {
		err = os.Rename(file.Name(), target)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return syncDir(filepath.Dir(target))
}

// finish gives the file its owner, mode and time, and closes it when it is on disk.
func (f Copied) finish(file *os.File, loaded bool) error {
	err := errors.Join(file.Chown(int(f.UID), int(f.GID)), file.Chmod(f.Mode))
	if err == nil && !loaded {
		err = os.Chtimes(file.Name(), f.Modified, f.Modified)
	}
	return errors.Join(err, file.Sync(), file.Close())
}
