//go:build linux

package renew_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/lab/disk"
)

// check starts the node on every state in which the power can have been cut.
func (c *crash) check(t *testing.T, log disk.Log, from int, deep depth) {
	t.Helper()
	type start struct {
		state disk.State
		run   bool
	}
	began, tried, work := time.Now(), 0, make(chan start)
	base := workspace(t)
	var workers sync.WaitGroup
	var mu sync.Mutex
	failures := map[string][]string{}
	for range 2 {
		workers.Go(func() {
			for w := range work {
				s := w.state
				dir := filepath.Join(base, fmt.Sprintf("%d-%s", s.Prefix, s.Loss))
				err := c.survives(t, s, dir, w.run)
				_ = os.RemoveAll(dir)
				mu.Lock()
				if tried++; err != nil {
					text := strings.ReplaceAll(err.Error(), dir, "")
					failures[text] = append(failures[text], s.Name())
				}
				mu.Unlock()
			}
		})
	}
	seen := map[string]bool{}
	all := 0
	for s := range log.States(from, deep.losses...) {
		if alive(s) && s.Prefix%deep.kills != 0 {
			continue
		}
		all++
		sum := s.Sum()
		if key := fmt.Sprintf("%x %t", sum, alive(s)); !seen[key] {
			seen[key] = true
			if all%deep.states == 0 {
				work <- start{s, sum[1]%deep.nextRun == 0}
			}
		}
	}
	close(work)
	workers.Wait()
	t.Logf("%d operations, %d states, %d of them different, %d tried in %s", len(log.Ops), all, len(seen), tried, time.Since(began).Round(time.Millisecond))
	for _, failure := range slices.Sorted(maps.Keys(failures)) {
		names := failures[failure]
		slices.Sort(names)
		t.Errorf("%s\n  in %d states, such as\n  %s", failure, len(names), strings.Join(names[:min(len(names), 4)], "\n  "))
	}
}

// alive says that only the daemon was killed.
func alive(s disk.State) bool { return s.Loss.String() == disk.KeepAll.String() }

// survives starts the daemon on what was left, lets it run again, and says what does
// not hold.
func (c *crash) survives(t *testing.T, s disk.State, dir string, run bool) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := s.Write(filepath.Join(dir, "disk")); err != nil {
		return err
	}
	if err := secret(filepath.Join(dir, "disk")); err != nil {
		return err
	}
	n := c.node(t, filepath.Join(dir, "disk"), !alive(s))
	// The daemon starts.
	if err := n.Recover(t.Context()); err != nil {
		return fmt.Errorf("Recover: %w", err)
	}
	if err := c.oldOrNew(t, n); err != nil {
		return fmt.Errorf("after the start: %w", err)
	}
	if !run {
		return nil
	}
	// It runs again, when that is due.
	n.later(later)
	if _, _, err := n.Act(context.WithoutCancel(t.Context()), renew.Wish{}, "start"); err != nil {
		return fmt.Errorf("the next run: %w", err)
	}
	want := maps.Clone(c.old)
	maps.Copy(want, c.new)
	if diff := cmp.Diff(keys(want), keys(contents(t, n.files.Root))); diff != "" {
		return fmt.Errorf("other files are there after the next run (-want +got):\n%s", diff)
	}
	for file, content := range contents(t, n.files.Root) {
		if content != want[file] {
			return fmt.Errorf("/%s is not what it should be after the next run", file)
		}
	}
	if plan := n.Look(t.Context(), renew.Wish{}).Plan; plan.Work() || len(plan.Blocked) > 0 {
		return fmt.Errorf("after the next run there is still something to do: %+v", plan)
	}
	stopped := map[string]int{}
	for _, step := range n.done() {
		if strings.HasPrefix(step, "stop ") || strings.HasPrefix(step, "restart ") {
			if stopped[step]++; stopped[step] > 1 {
				return fmt.Errorf("%s twice", step)
			}
		}
	}
	return n.inOrder()
}

// secret says which file with a private key others than root could read at that moment.
func secret(dir string) error {
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Mode().Perm()&0o077 == 0 {
			return err
		}
		content, err := os.ReadFile(file)
		if err == nil && (strings.Contains(string(content), "PRIVATE KEY") || strings.Contains(string(content), "client-key-data")) {
			err = fmt.Errorf("%s holds a key and has mode %s", file, info.Mode())
		}
		return err
	})
}

// oldOrNew says which certificate is neither as it was nor the new one, or which other
// file has changed.
func (c *crash) oldOrNew(t *testing.T, n *fakeNode) error {
	found := contents(t, n.files.Root)
	renewed := map[string]bool{}
	for _, name := range renewable {
		var old, fresh int
		files := contents(t, filepath.Join(c.made.dir, "new", name))
		for file := range files {
			renewed[file] = true
			switch found[file] {
			case c.old[file]:
				old++
			case c.new[file]:
				fresh++
			case "":
				return fmt.Errorf("%s: /%s is empty or gone", name, file)
			}
		}
		if max(old, fresh) != len(files) {
			return fmt.Errorf("%s is neither what it was nor the new one", name)
		}
	}
	for file, content := range c.old {
		if !renewed[file] && found[file] != content {
			return fmt.Errorf("/%s was not to be changed", file)
		}
	}
	return nil
}

// inOrder says what is wrong with what was recorded.
func (n *fakeNode) inOrder() error {
	runs, err := n.State.History()
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	for _, run := range runs {
		if run.Outcome == renew.Unfinished {
			return errors.New("a record has no end")
		}
	}
	if _, err := n.State.Snapshots(); err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	return nil
}
