//go:build linux

package machine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// shareFrom is the size in bytes from which a file is linked, not copied.
// Smaller ones, databases among them, are written to by those that own them.
const shareFrom = 1 << 20

// cloneTree makes to a copy of from, sharing large files where both lie on
// one file system.
func cloneTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			if err := os.MkdirAll(target, 0o700); err != nil {
				return err
			}
			return os.Chmod(target, info.Mode().Perm())
		case entry.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case !entry.Type().IsRegular():
			return fmt.Errorf("copy %s: neither file, folder nor link", path)
		case info.Size() >= shareFrom && filepath.Ext(path) != ".db":
			err := os.Link(path, target)
			if !errors.Is(err, syscall.EXDEV) {
				return err
			}
		}
		return copyFile(path, target, info.Mode().Perm())
	})
}

// copyFile makes to a copy of from with the given mode, in place if it is
// there already.
func copyFile(from, to string, mode fs.FileMode) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Chmod(mode)
}
