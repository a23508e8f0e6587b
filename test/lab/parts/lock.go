package parts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubecertd/kubecertd/test/lab/progress"
)

// lock takes the file lock at path and waits for its holder as long as ctx
// allows. The kernel gives it back when this process ends, however it ends.
func lock(ctx context.Context, path string, out *progress.Printer) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the lab's cache: %w", err)
	}
	unlock = func() { _ = f.Close() }

	err = tryLock(f)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = out.Do("another process builds the lab's parts, waiting for it", 0, func() error {
			return waitLock(ctx, f)
		})
	}
	if err != nil {
		unlock()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return unlock, nil
}

func waitLock(ctx context.Context, f *os.File) error {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if err := tryLock(f); !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
	}
}

func tryLock(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}
