// Package filelock makes processes of one machine wait for each other over a
// folder. The lock is the folder itself, so it leaves no file of its own, and
// the kernel frees it when its holder ends, so a crash leaves it free.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// retry is how often a taken lock is tried again.
const retry = 100 * time.Millisecond

// errTaken says that another process has the lock.
var errTaken = errors.New("another process has it")

// Take locks the folder dir, which is made when missing, and calls waiting
// once if another process holds it. It gives up with ctx. The holder may
// remove the folder.
func Take(ctx context.Context, dir string, waiting func()) (release func(), err error) {
	ticker := time.NewTicker(retry)
	defer ticker.Stop()
	for {
		f, err := try(dir)
		if err == nil {
			// Closing is what releases: nothing can be done about an error.
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, errTaken) {
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w: %w", dir, err, ctx.Err())
		case <-ticker.C:
		}
	}
}

func try(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, retryable(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, retryable(err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errTaken
	}
	if err == nil {
		err = stillThere(f, dir)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// stillThere says whether f is what dir now names: an earlier holder may have
// removed the folder between our opening and locking it.
func stillThere(f *os.File, dir string) error {
	ours, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(dir)
	if err != nil {
		return retryable(err)
	}
	if !os.SameFile(ours, named) {
		return errTaken
	}
	return nil
}

// retryable takes a folder that has just been removed for one just taken.
func retryable(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errTaken
	}
	return err
}
