package renew

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// Watcher wakes the loop when files of the watched directories change. It watches
// directories, because files are replaced, and waits until they are quiet, so
// that a whole kubeadm run is one event.
type Watcher struct {
	wake    chan string
	watcher *fsnotify.Watcher
	settle  time.Duration
	log     *zap.Logger
}

// NewWatcher makes a watcher whose Wake fires once nothing has changed for settle.
// Without inotify (no instances left: fs.inotify.max_user_instances) there is an
// error, and the caller goes on with its timer.
func NewWatcher(settle time.Duration, log *zap.Logger) (*Watcher, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("file changes cannot be watched, the check interval alone finds them: %w", err)
	}
	return &Watcher{wake: make(chan string, 1), watcher: watcher, settle: settle, log: log}, nil
}

// Wake is what the loop waits on.
func (w *Watcher) Wake() <-chan string { return w.wake }

// Run passes events on until the context is cancelled.
func (w *Watcher) Run(ctx context.Context) {
	defer func() { _ = w.watcher.Close() }()
	var changed string
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.watcher.Events:
			if e.Op == fsnotify.Chmod {
				continue // attributes: a backup that reads, an administrator's chmod
			}
			changed = e.Name
			quiet.Reset(w.settle)
		case err := <-w.watcher.Errors:
			// Events were lost (inotify(7): IN_Q_OVERFLOW): something has changed.
			w.log.Debug("file events were lost", zap.Error(err))
			changed = "files"
			quiet.Reset(w.settle)
		case <-quiet.C:
			select {
			case w.wake <- changed + " changed":
			default: // the loop has not taken the last one yet
			}
		}
	}
}

// Watch watches these directories from now on. One that does not exist yet is
// waited for in its nearest existing parent.
func (w *Watcher) Watch(directories []string) {
	wanted := map[string]bool{}
	for _, dir := range directories {
		for dir != filepath.Dir(dir) {
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				break
			}
			dir = filepath.Dir(dir)
		}
		wanted[dir] = true
	}
	for _, dir := range w.watcher.WatchList() {
		if !wanted[dir] {
			_ = w.watcher.Remove(dir)
		}
		delete(wanted, dir)
	}
	for dir := range wanted {
		if err := w.watcher.Add(dir); err != nil {
			w.log.Warn("directory cannot be watched, the check interval alone finds its changes",
				zap.String("path", dir), zap.Error(err))
		}
	}
}
