package filelock_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/filelock"
)

func take(t *testing.T, dir string) func() {
	t.Helper()
	release, err := filelock.Take(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return release
}

func TestTakeWaitsForTheHolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	release := take(t, dir)

	waiting := make(chan struct{})
	taken := make(chan error, 1)
	go func() {
		release, err := filelock.Take(t.Context(), dir, func() { close(waiting) })
		if err == nil {
			release()
		}
		taken <- err
	}()
	<-waiting
	select {
	case err := <-taken:
		t.Fatalf("took a lock that is held: %v", err)
	default:
	}
	release()
	if err := <-taken; err != nil {
		t.Fatalf("after its release: %v", err)
	}
}

func TestTakeGivesUpWithItsContext(t *testing.T) {
	dir := t.TempDir()
	defer take(t, dir)()

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := filelock.Take(ctx, dir, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v, want the deadline", err)
	}
}

// A holder that takes a lab down removes the folder, and whoever waits must
// not end up with a lock on a folder that is no longer there.
func TestTakeAfterTheHolderRemovedTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	release := take(t, dir)

	waiting := make(chan struct{})
	type result struct {
		release func()
		err     error
	}
	taken := make(chan result, 1)
	go func() {
		release, err := filelock.Take(t.Context(), dir, func() { close(waiting) })
		taken <- result{release, err}
	}()
	<-waiting
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	release()
	got := <-taken
	if got.err != nil {
		t.Fatal(got.err)
	}
	defer got.release()
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the lock is on nothing: %v", err)
	}
}
