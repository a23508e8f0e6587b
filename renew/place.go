package renew

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// place is a file that is to be replaced, in a directory that somebody else than root
// may control: /home/*/.kube/config. Whoever does could plant links, to have root write
// or disclose something of his choosing. So every directory on the way is opened as
// itself and by the one above it, and everything else is done from the last of them:
// what is renamed or linked meanwhile, root still writes where it has looked.
type place struct {
	dir  *os.File
	file *os.File
	name string
	was  unix.Stat_t
}

// mostLinks is how many symbolic links are followed (path_resolution(7)).
const mostLinks = 40

// openPlace opens a file under a root, and refuses one that cannot be replaced safely.
// It changes nothing.
func openPlace(root, name string) (*place, error) {
	top, err := openDir(unix.AT_FDCWD, path.Join(root, "/"))
	if err != nil {
		return nil, err
	}
	dir := top
	defer func() {
		if dir != top {
			_ = dir.Close()
		}
		_ = top.Close()
	}()
	holder, links := uint32(0), 0 // who besides root can change names in dir
	rest := split(name)
	for {
		part := rest[0]
		rest = rest[1:]
		var st unix.Stat_t
		if err := unix.Fstatat(int(dir.Fd()), part, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, fmt.Errorf("%s: %w", part, err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			if !trusted(holder) {
				return nil, fmt.Errorf("%s on the way to it is a symbolic link that user %d could have planted: name the file itself", part, holder)
			}
			if links++; links > mostLinks {
				return nil, errors.New("it is behind a loop of symbolic links")
			}
			target, err := readlinkat(dir, part)
			if err != nil {
				return nil, err
			}
			if path.IsAbs(target) && dir != top {
				_ = dir.Close()
				dir = top
			}
			if rest = append(split(target), rest...); len(rest) == 0 {
				return nil, errors.New("it is a directory")
			}
			continue
		}
		if len(rest) == 0 {
			return openFile(dir, part, holder)
		}
		next, err := openDir(int(dir.Fd()), part)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part, err)
		}
		if dir != top {
			_ = dir.Close()
		}
		dir = next
		if holder, err = holderOf(next, part, holder); err != nil {
			return nil, err
		}
	}
}

// holderOf says who can change names in a directory besides root, given who can in the
// one above it. Where that are several, it is refused.
func holderOf(dir *os.File, name string, above uint32) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return 0, err
	}
	switch {
	case st.Mode&unix.S_IWOTH != 0:
		return 0, fmt.Errorf("everybody can write in the directory %s on the way to it: chmod o-w", name)
	case st.Mode&unix.S_IWGRP != 0 && st.Gid != 0 && st.Gid != st.Uid: // a group of one's own has one's number
		return 0, fmt.Errorf("group %d can write in the directory %s on the way to it: chmod g-w", st.Gid, name)
	case trusted(above):
		return st.Uid, nil
	case st.Uid != above && !trusted(st.Uid):
		return 0, fmt.Errorf("the directory %s on the way to it is user %d's, in one of user %d's", name, st.Uid, above)
	}
	return above, nil
}

// trusted says whether a user is the one that this program runs as, or root.
func trusted(uid uint32) bool { return uid == 0 || uid == uint32(os.Geteuid()) }

func openDir(at int, name string) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openFile opens the file itself. The place has a descriptor of the directory of its own.
func openFile(dir *os.File, name string, holder uint32) (*place, error) {
	p := &place{name: name}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	p.file = os.NewFile(uintptr(fd), name)
	if p.dir, err = openDir(int(dir.Fd()), "."); err == nil {
		err = unix.Fstat(fd, &p.was)
	}
	switch {
	case err != nil:
	case p.was.Mode&unix.S_IFMT != unix.S_IFREG:
		err = errors.New("it is no regular file")
	case p.was.Nlink != 1:
		err = fmt.Errorf("it has %d names (hard links), of which one would be replaced: give the copy a file of its own", p.was.Nlink)
	case !trusted(holder) && p.was.Uid != holder && !trusted(p.was.Uid):
		err = fmt.Errorf("it is user %d's, in a directory of user %d's", p.was.Uid, holder)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *place) close() {
	_ = p.file.Close()
	if p.dir != nil {
		_ = p.dir.Close()
	}
}

// read is what is in the file.
func (p *place) read() ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(p.file, 1<<20+1))
	if err == nil && len(content) > 1<<20 {
		err = errors.New("it is larger than a kubeconfig")
	}
	return content, err
}

// replace puts another file in its place, with its owner, mode and access list, and
// returns when that is on disk. Until then nobody but root can read what is written.
func (p *place) replace(content []byte) (err error) {
	if err := p.sweep(); err != nil {
		return err
	}
	// client-go locks so (tools/clientcmd/config.go, lockFile).
	var st unix.Stat_t
	if unix.Fstatat(int(p.dir.Fd()), p.name+".lock", &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return fmt.Errorf("kubectl is writing it, or was cut off and has left %s.lock", p.name)
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	name := p.prefix() + hex.EncodeToString(random[:])
	fd, err := unix.Openat(int(p.dir.Fd()), name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return readOnly(err)
	}
	file := os.NewFile(uintptr(fd), name)
	defer func() {
		_ = file.Close()
		if err != nil {
			_ = unix.Unlinkat(int(p.dir.Fd()), name, 0)
		}
	}()
	if _, err := file.Write(content); err != nil {
		return err
	}
	if err := p.dress(fd); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	written := make([]byte, len(content)+1)
	if n, err := file.ReadAt(written, 0); !errors.Is(err, io.EOF) || !bytes.Equal(written[:n], content) {
		return errors.New("it does not hold what was just written: is the disk failing?")
	}
	// Whoever has changed it since it was read shall not lose that.
	if err := unix.Fstatat(int(p.dir.Fd()), p.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Ino != p.was.Ino || st.Dev != p.was.Dev || st.Ctim != p.was.Ctim || st.Size != p.was.Size {
		return errors.New("somebody else has changed it meanwhile")
	}
	failpoint("before copy " + p.name)
	if err := unix.Renameat(int(p.dir.Fd()), name, int(p.dir.Fd()), p.name); err != nil {
		return err
	}
	return p.dir.Sync()
}

// dress gives a file the owner, mode, access list and label of the one it replaces.
func (p *place) dress(fd int) error {
	if err := unix.Fchown(fd, int(p.was.Uid), int(p.was.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, p.was.Mode&0o777); err != nil {
		return err
	}
	for _, attribute := range []string{"system.posix_acl_access", "security.selinux"} {
		value := make([]byte, 4096)
		n, err := unix.Fgetxattr(int(p.file.Fd()), attribute, value)
		if err != nil {
			continue // it has none, or the file system knows none
		}
		if err := unix.Fsetxattr(fd, attribute, value[:n], 0); err != nil && attribute != "security.selinux" {
			return fmt.Errorf("%s: %w", attribute, err) // a label may be for nobody to set; the directory gives one
		}
	}
	return nil
}

// prefix begins the names of files that are to take its place.
func (p *place) prefix() string { return "." + p.name + ".kubecertd-" }

// sweep removes what a refreshing that was cut off has left: it holds a key.
func (p *place) sweep() error {
	dir, err := openDir(int(p.dir.Fd()), ".")
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, p.prefix()) {
			if err := unix.Unlinkat(int(p.dir.Fd()), name, 0); err != nil && !errors.Is(err, unix.EISDIR) {
				return readOnly(err)
			}
		}
	}
	return nil
}

// readOnly says what the sandbox of the unit looks like from inside.
func readOnly(err error) error {
	if errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w for the service: systemctl edit kubecertd, [Service], ReadWritePaths= its directory", err)
	}
	return err
}

func readlinkat(dir *os.File, name string) (string, error) {
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(dir.Fd()), name, buffer)
	if err != nil {
		return "", err
	}
	return string(buffer[:n]), nil
}

// split are the parts of a path.
func split(name string) []string {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}
