//go:build linux

package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kubecertd/kubecertd/test/lab/disk"
)

// mount mounts a disk for the time of the test.
func mount(t *testing.T) *disk.Disk {
	t.Helper()
	d, err := disk.Mount(t.TempDir())
	if errors.Is(err, disk.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// closeAfter closes at the end of the test.
func closeAfter(t *testing.T, c io.Closer) {
	t.Helper()
	t.Cleanup(func() { must(t, c.Close()) })
}

// picture is everything that can be seen of a directory.
func picture(t *testing.T, dir string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == "." {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t)
		seen[name] = fmt.Sprintf("%s %d:%d", info.Mode(), owner.Uid, owner.Gid)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			seen[name] += " to " + target
			return err
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			seen[name] += fmt.Sprintf(" %d %x", info.Size(), content)
			return err
		}
		return nil
	})
	must(t, err)
	return seen
}

// TestBehavesAsADirectory does the same at random to a mount and to an ordinary
// directory, and compares what comes of it, errors included.
func TestBehavesAsADirectory(t *testing.T) {
	d := mount(t)
	for seed := range uint64(8) {
		there, here := filepath.Join(d.Dir, fmt.Sprint(seed)), t.TempDir()
		must(t, os.Mkdir(there, 0o700), os.Chmod(here, 0o700))
		rng := rand.New(rand.NewPCG(seed, 1))
		for i := range 400 {
			text, change := operation(rng)
			got, want := outcome(change(there)), outcome(change(here))
			if got != want {
				t.Fatalf("seed %d, step %d: %s: %q, and %q on a directory", seed, i, text, got, want)
			}
		}
		if diff := cmp.Diff(picture(t, here), picture(t, there)); diff != "" {
			t.Fatalf("seed %d: a directory (-) and the mount (+) differ:\n%s", seed, diff)
		}
	}
	// What the log makes of it without a mount is the same.
	log, replayed := d.Log(), t.TempDir()
	must(t, log.State(len(log.Ops), disk.KeepAll).Write(replayed))
	if diff := cmp.Diff(picture(t, d.Dir), picture(t, replayed)); diff != "" {
		t.Errorf("the mount (-) and its log written out (+) differ:\n%s", diff)
	}
}

// outcome is an error without the path.
func outcome(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return ""
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}

// operation is one random change, to a few names so that they meet.
func operation(rng *rand.Rand) (string, func(dir string) error) {
	name := func() string {
		parts := []string{[]string{"a", "b", "c", "d"}[rng.IntN(4)]}
		for rng.IntN(3) == 0 {
			parts = append(parts, []string{"a", "b"}[rng.IntN(2)])
		}
		return filepath.Join(parts...)
	}
	one, two, size := name(), name(), rng.Int64N(9000)
	content := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, rng.IntN(9000))
	open := func(flags int, do func(*os.File) error) func(string) error {
		return func(dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, one), flags, 0o640)
			if err != nil {
				return err
			}
			return errors.Join(do(f), f.Close())
		}
	}
	write := func(f *os.File) error { _, err := f.Write(content); return err }
	switch rng.IntN(16) {
	case 0, 1:
		return "write " + one, open(os.O_WRONLY|os.O_CREATE|os.O_TRUNC, write)
	case 2:
		return "append " + one, open(os.O_WRONLY|os.O_CREATE|os.O_APPEND, func(f *os.File) error { return errors.Join(write(f), write(f)) })
	case 3:
		return "new " + one, open(os.O_WRONLY|os.O_CREATE|os.O_EXCL, write)
	case 4:
		return "overwrite " + one, open(os.O_RDWR, func(f *os.File) error { _, err := f.WriteAt(content, size); return err })
	case 5:
		return "truncate " + one, open(os.O_WRONLY, func(f *os.File) error { return errors.Join(f.Truncate(size), f.Sync()) })
	case 6, 7:
		return "mkdir " + one, func(dir string) error { return os.Mkdir(filepath.Join(dir, one), 0o750) }
	case 8, 9:
		return "rename " + one + " " + two, func(dir string) error { return os.Rename(filepath.Join(dir, one), filepath.Join(dir, two)) }
	case 10:
		return "renameat2 " + one + " " + two, func(dir string) error {
			return unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, one), unix.AT_FDCWD, filepath.Join(dir, two), unix.RENAME_NOREPLACE)
		}
	case 11:
		return "unlink " + one, func(dir string) error { return syscall.Unlink(filepath.Join(dir, one)) }
	case 12:
		return "rmdir " + one, func(dir string) error { return syscall.Rmdir(filepath.Join(dir, one)) }
	case 13:
		return "symlink " + one, func(dir string) error { return os.Symlink(two, filepath.Join(dir, one)) }
	case 14:
		mode := os.FileMode(0o600 | rng.IntN(0o200))
		return "chmod " + one, func(dir string) error { return os.Chmod(filepath.Join(dir, one), mode) }
	default:
		id := rng.IntN(3)
		return "chown " + one, func(dir string) error { return os.Lchown(filepath.Join(dir, one), id, id+1) }
	}
}

func TestWhatAKubeletNeeds(t *testing.T) {
	d := mount(t)
	file := filepath.Join(d.Dir, "file")
	must(t, os.WriteFile(file, []byte("one"), 0o600))

	t.Run("times are kept", func(t *testing.T) {
		then := time.Unix(1_700_000_000, 123_456_789)
		must(t, os.Chtimes(file, then, then))
		info, err := os.Stat(file)
		must(t, err)
		if !info.ModTime().Equal(then) {
			t.Errorf("modified %s, want %s", info.ModTime(), then)
		}
	})
	t.Run("a bound file is the one that is written to", func(t *testing.T) {
		bound := filepath.Join(t.TempDir(), "bound")
		must(t, os.WriteFile(bound, nil, 0o600), unix.Mount(file, bound, "", unix.MS_BIND, ""))
		defer func() { must(t, unix.Unmount(bound, 0)) }()
		must(t, os.WriteFile(file, []byte("in place"), 0o600))
		content, err := os.ReadFile(bound)
		if must(t, err); string(content) != "in place" {
			t.Errorf("written in place, the bound file holds %q", content)
		}
		must(t, os.WriteFile(file+".new", []byte("another"), 0o600), os.Rename(file+".new", file))
		content, err = os.ReadFile(bound)
		if must(t, err); string(content) != "in place" {
			t.Errorf("replaced, the bound file holds %q, want the old file still", content)
		}
	})
	t.Run("mmap sees what is written later", func(t *testing.T) {
		must(t, os.WriteFile(file, []byte("before"), 0o600))
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		must(t, err)
		closeAfter(t, f)
		memory, err := unix.Mmap(int(f.Fd()), 0, 6, unix.PROT_READ, unix.MAP_SHARED)
		must(t, err)
		defer func() { must(t, unix.Munmap(memory)) }()
		if string(memory) != "before" {
			t.Errorf("mapped %q", memory)
		}
		_, err = f.WriteAt([]byte("behind"), 0)
		if must(t, err); string(memory) != "behind" {
			t.Errorf("mapped %q after a write", memory)
		}
	})
	t.Run("flock holds others off", func(t *testing.T) {
		one, err := os.Open(file)
		must(t, err)
		closeAfter(t, one)
		two, err := os.Open(file)
		must(t, err)
		closeAfter(t, two)
		must(t, unix.Flock(int(one.Fd()), unix.LOCK_EX))
		if err := unix.Flock(int(two.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			t.Errorf("a second lock: %v, want it to be refused", err)
		}
	})
	t.Run("inotify tells of writes", func(t *testing.T) {
		w, err := fsnotify.NewWatcher()
		must(t, err)
		closeAfter(t, w)
		must(t, w.Add(d.Dir), os.WriteFile(file, []byte("news"), 0o600))
		select {
		case e := <-w.Events:
			if e.Name != file {
				t.Errorf("event of %s", e.Name)
			}
		case <-time.After(5 * time.Second):
			t.Error("no event within 5s")
		}
	})
	t.Run("no attributes beyond those", func(t *testing.T) {
		if err := unix.Setxattr(file, "user.a", nil, 0); !errors.Is(err, unix.ENOTSUP) {
			t.Errorf("setxattr: %v, want it to be unsupported", err)
		}
	})
	t.Run("an open file outlives its name", func(t *testing.T) {
		f, err := os.Open(file)
		must(t, err)
		closeAfter(t, f)
		must(t, os.Remove(file))
		content := make([]byte, 4)
		_, err = f.ReadAt(content, 0)
		if must(t, err); string(content) != "news" {
			t.Errorf("read %q", content)
		}
	})
	t.Run("other users are held to the modes", func(t *testing.T) {
		must(t, os.Chmod(d.Dir, 0o755), os.WriteFile(file, []byte("secret"), 0o600))
		cat := exec.Command("/bin/cat", file)
		cat.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cat.Dir = "/"
		if out, err := cat.CombinedOutput(); err == nil || !strings.Contains(string(out), "denied") {
			t.Errorf("nobody reads it: %v: %s", err, out)
		}
	})
	t.Run("it is full when it is", func(t *testing.T) {
		d.Limit(d.Used() + 64<<10)
		defer d.Limit(1 << 30)
		if err := os.WriteFile(filepath.Join(d.Dir, "big"), make([]byte, 128<<10), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("more than there is room for: %v, want no space left", err)
		}
		var st unix.Statfs_t
		must(t, unix.Statfs(d.Dir, &st))
		if free := int64(st.Bavail) * st.Bsize; free > 64<<10 {
			t.Errorf("%d bytes free, want at most 64 KiB", free)
		}
	})
}
