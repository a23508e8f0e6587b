package renew

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// State is the directory in which kubecertd keeps what must survive it: the
// records of its runs, the remembered cluster configuration, the locks. Only
// root can enter it.
type State struct{ Dir string }

func (s State) path(elem ...string) string {
	return filepath.Join(append([]string{s.Dir}, elem...)...)
}

// prepare makes the directories.
func (s State) prepare() error {
	for _, dir := range []string{"runs", maintenanceDir} {
		if err := os.MkdirAll(s.path(dir), 0o700); err != nil {
			return fmt.Errorf("state directory %s cannot be made: %w", s.Dir, err)
		}
	}
	return nil
}

// LockedError says that somebody else holds a lock of this node.
type LockedError struct {
	What string // "daemon", "run"
	PID  string // of the holder, as it wrote it; may be empty
}

func (e *LockedError) Error() string {
	if e.PID == "" {
		return "another " + e.What + " of kubecertd is at work on this node"
	}
	return fmt.Sprintf("another %s of kubecertd is at work on this node: process %s", e.What, e.PID)
}

// LockDaemon makes this process the node's one daemon until release is called or
// the process ends, however it ends.
func (s State) LockDaemon() (release func(), err error) { return s.lock("daemon") }

// lockRun makes this run the node's one run.
func (s State) lockRun() (release func(), err error) { return s.lock("run") }

func (s State) lock(what string) (func(), error) {
	if err := s.prepare(); err != nil {
		return nil, err
	}
	// kubeadm must not inherit the lock: os.OpenFile sets O_CLOEXEC.
	f, err := os.OpenFile(s.path(what+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock of the %s: %w", what, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &LockedError{what, strings.TrimSpace(string(holder))}
		}
		return nil, fmt.Errorf("lock of the %s: %s: %w", what, s.path(what+".lock"), err)
	}
	// The pid is for people and for the error above; the lock itself is the flock.
	_ = f.Truncate(0)
	_, _ = f.WriteAt([]byte(fmt.Sprintf("%d\n", os.Getpid())), 0)
	return func() {
		_ = f.Truncate(0)
		// Closing it is not enough while a child that was just forked still has it too.
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
		_ = f.Close()
	}, nil
}

// write puts a file in place so that it is either the old or the new one, and on
// disk when it returns.
func (s State) write(name string, content []byte) (err error) {
	if err := s.prepare(); err != nil {
		return err
	}
	dir := filepath.Dir(s.path(name))
	f, err := os.CreateTemp(dir, filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(content); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), s.path(name)); err != nil {
		return err
	}
	if dir != filepath.Clean(s.Dir) {
		err = syncDir(dir) // which may be new in the one above
	}
	return errors.Join(err, syncDir(s.Dir))
}

// syncGone makes it durable that a file is not there. Where there is no such directory
// either, it is.
func syncGone(name string) error {
	if err := syncDir(filepath.Dir(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
