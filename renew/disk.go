package renew

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	// block is what a small file takes on most file systems.
	block = 4096
	// reserve is for the records and manifests of a run, which name every file.
	reserve = 256 << 10
	// inodes is more files than a run makes.
	inodes = 200
)

// room says why the disks cannot take a snapshot and a renewal together. kubeadm cuts
// a file to nothing before it writes it, so that a full disk would leave it empty.
func (n *Node) room(o Observation) error {
	return n.roomFor(slices.DeleteFunc(files(o.Certificates), func(f Copied) bool { return f.Certificate == kubeletServer }))
}

// roomFor says why the disks cannot take copies and new versions of these files.
func (n *Node) roomFor(list []Copied) error {
	layout, _ := n.Locate()
	needs := map[uint64]*need{}
	add := func(dir string, bytes uint64) error {
		found, stat, err := existing(dir)
		if err != nil {
			return err
		}
		at := needs[stat.Dev]
		if at == nil {
			at = &need{dir: found}
			needs[stat.Dev] = at
		}
		at.bytes += bytes
		return nil
	}
	failed := []error{add(n.State.Dir, reserve)}
	for _, f := range list {
		name := layout.Resolve(f.Path)
		size := uint64(2 * block) // of one that is not there yet
		if info, err := os.Stat(name); err == nil {
			size = uint64(info.Size())/block*block + 2*block // and a little longer
		}
		// The copy; and the new file, beside which the old one may have to be put.
		failed = append(failed, add(n.State.Dir, size), add(filepath.Dir(name), 2*size))
	}
	for _, at := range needs {
		failed = append(failed, at.check())
	}
	return errors.Join(failed...)
}

// need is what one file system must have room for.
type need struct {
	dir   string // any that lies on it
	bytes uint64
}

func (n need) check() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(n.dir, &fs); err != nil {
		return fmt.Errorf("the file system of %s cannot be asked for its room: %w", n.dir, err)
	}
	// Root may use what is reserved for it.
	free := fs.Bfree * uint64(fs.Bsize)
	switch {
	case fs.Flags&unix.ST_RDONLY != 0:
		return fmt.Errorf("the file system of %s is mounted read-only", n.dir)
	case free < n.bytes:
		return fmt.Errorf("the file system of %s has %d KiB left, and a snapshot and a renewal need %d KiB", n.dir, free>>10, n.bytes>>10)
	case fs.Files > 0 && fs.Ffree < inodes: // some have no such limit
		return fmt.Errorf("the file system of %s has room for only %d more files", n.dir, fs.Ffree)
	}
	return nil
}

// existing is the directory, or the nearest above it that is there.
func existing(dir string) (string, unix.Stat_t, error) {
	for {
		var stat unix.Stat_t
		err := unix.Stat(dir, &stat)
		if err == nil {
			return dir, stat, nil
		}
		if !errors.Is(err, unix.ENOENT) || dir == filepath.Dir(dir) {
			return dir, stat, fmt.Errorf("%s: %w", dir, err)
		}
		dir = filepath.Dir(dir)
	}
}
