package renew

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
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
	add     func(directory string) error
	settle  time.Duration
	log     *zap.Logger
	// unwatched is what was last said about directories that cannot be watched.
	unwatched string
}

// NewWatcher makes a watcher whose Wake fires once nothing has changed for settle.
// Without inotify (no instances left: fs.inotify.max_user_instances) there is an
// error, and the caller goes on with its timer.
func NewWatcher(settle time.Duration, log *zap.Logger) (*Watcher, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("file changes cannot be watched, the check interval alone finds them: %w", err)
	}
	return &Watcher{wake: make(chan string, 1), watcher: watcher, add: watcher.Add, settle: settle, log: log}, nil
}

// longest is how long files may go on changing before they are looked at all the same.
var longest = 30 * time.Second

// Wake is what the loop waits on.
func (w *Watcher) Wake() <-chan string { return w.wake }

// Run passes events on until the context is cancelled.
func (w *Watcher) Run(ctx context.Context) {
	defer func() { _ = w.watcher.Close() }()
	var changed string
	var since time.Time // of the first change that was not passed on; zero when there is none
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	// A directory in which something is written all the time must not hide the others.
	settle := func() {
		if since.IsZero() {
			since = time.Now()
		}
		quiet.Reset(min(w.settle, max(time.Until(since.Add(longest)), 0)))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.watcher.Events:
			if e.Op == fsnotify.Chmod {
				continue // attributes: a backup that reads, an administrator's chmod
			}
			changed = e.Name
			settle()
		case err := <-w.watcher.Errors:
			// Events were lost (inotify(7): IN_Q_OVERFLOW): something has changed.
			w.log.Debug("file events were lost", zap.Error(err))
			changed = "files"
			settle()
		case <-quiet.C:
			since = time.Time{}
			select {
			case w.wake <- changed + " changed":
			default: // the loop has not taken the last one yet
			}
		}
	}
}

// Watch watches these directories from now on, the first first should inotify have no
// room for all. One that does not exist yet is waited for in its nearest existing parent.
func (w *Watcher) Watch(directories []string) {
	wanted, order := map[string]bool{}, []string{}
	for _, dir := range directories {
		for dir != filepath.Dir(dir) {
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				break
			}
			dir = filepath.Dir(dir)
		}
		if !wanted[dir] {
			wanted[dir] = true
			order = append(order, dir)
		}
	}
	watched := map[string]bool{}
	for _, dir := range w.watcher.WatchList() {
		if !wanted[dir] {
			_ = w.watcher.Remove(dir)
		}
		watched[dir] = true
	}
	var failed []string
	var problem error
	for _, dir := range order {
		if watched[dir] {
			continue
		}
		if !errors.Is(problem, syscall.ENOSPC) { // else no room for the others either
			err := w.add(dir)
			if err == nil {
				continue
			}
			problem = err
		}
		failed = append(failed, dir)
	}
	w.say(failed, problem)
}

// say says which directories cannot be watched, once for as long as it is so.
func (w *Watcher) say(failed []string, problem error) {
	if len(failed) == 0 {
		w.unwatched = ""
		return
	}
	if text := problem.Error(); text != w.unwatched {
		w.unwatched = text
		w.log.Warn("directories cannot be watched, the check interval alone finds their changes (fs.inotify.max_user_watches)",
			zap.Int("directories", len(failed)), zap.String("path", failed[0]), zap.Error(problem))
	}
}
