package renew_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubecertd/kubecertd/renew"
)

const settle = 200 * time.Millisecond

// watch watches directories until the test ends.
func watch(t *testing.T, directories ...string) *renew.Watcher {
	t.Helper()
	w, err := renew.NewWatcher(settle, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	w.Watch(directories)
	return w
}

// woken waits for a wake that names a file, and for the silence after it.
func woken(t *testing.T, w *renew.Watcher, by string) {
	t.Helper()
	select {
	case why := <-w.Wake():
		if !strings.Contains(why, by) {
			t.Errorf("woken by %q, want %s", why, by)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("not woken by %s", by)
	}
	quiet(t, w)
}

func quiet(t *testing.T, w *renew.Watcher) {
	t.Helper()
	select {
	case why := <-w.Wake():
		t.Errorf("woken once more by %q", why)
	case <-time.After(4 * settle):
	}
}

func put(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A whole kubeadm run is one event.
func TestWatcherSettles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := watch(t, dir)
	for i := range 20 {
		put(t, filepath.Join(dir, fmt.Sprintf("file-%02d", i)))
	}
	woken(t, w, "file-19 changed")

	// Files that are replaced are seen as well as those that are written.
	put(t, filepath.Join(dir, "new"))
	woken(t, w, "new changed")
	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "file-00")); err != nil {
		t.Fatal(err)
	}
	woken(t, w, "file-00 changed")

	// Who only changes a mode, or reads, has changed no certificate.
	if err := os.Chmod(filepath.Join(dir, "file-01"), 0o640); err != nil {
		t.Fatal(err)
	}
	quiet(t, w)
}

// A directory that is not there yet is waited for in its nearest parent.
func TestWatcherWaitsForDirectories(t *testing.T) {
	t.Parallel()
	etc := t.TempDir()
	pki := filepath.Join(etc, "kubernetes", "pki")
	w := watch(t, pki)
	if err := os.MkdirAll(pki, 0o755); err != nil {
		t.Fatal(err)
	}
	woken(t, w, "kubernetes changed")
	w.Watch([]string{pki}) // as before each look
	put(t, filepath.Join(pki, "ca.crt"))
	woken(t, w, "ca.crt changed")

	// What is no longer wanted is no longer watched.
	w.Watch([]string{etc})
	put(t, filepath.Join(pki, "ca.key"))
	quiet(t, w)
}

// A host without inotify watches left is said once; the first directories, which are the
// node's own, have what there is, and the others are watched once there is room.
func TestWatchWithoutRoom(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	w, err := renew.NewWatcher(settle, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	var tried []string
	room := 1
	w.WatchWith(func(dir string) error {
		tried = append(tried, filepath.Base(dir))
		if len(tried) > room {
			return syscall.ENOSPC
		}
		return nil
	})
	var dirs []string
	for _, name := range []string{"own", "b", "c", "d"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	w.Watch(dirs)
	if diff := cmp.Diff([]string{"own", "b"}, tried); diff != "" {
		t.Errorf("tried (-want +got)\n%s", diff)
	}
	tried = nil
	w.Watch(dirs)
	if said := logs.TakeAll(); len(said) != 1 || said[0].ContextMap()["directories"] != int64(3) {
		t.Errorf("said %v, want once, of three directories", said)
	}
	tried, room = nil, 10
	w.Watch(dirs)
	if len(tried) != 4 || logs.Len() > 0 {
		t.Errorf("with room for all, tried %v and said %v", tried, logs.All())
	}
}

// A directory in which something is written all the time does not hide the others.
func TestWatchNoise(t *testing.T) {
	renew.ShortNoise(t, 5*settle)
	dir := t.TempDir()
	w := watch(t, dir)
	deadline := time.After(20 * time.Second)
	for {
		put(t, filepath.Join(dir, "noise"))
		select {
		case <-w.Wake():
			return
		case <-deadline:
			t.Fatal("not woken while files go on changing")
		case <-time.After(settle / 4):
		}
	}
}
