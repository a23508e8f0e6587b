package renew_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/renew"
)

func marker(s renew.State) string { return filepath.Join(s.Dir, "maintenance", "paused.json") }

func TestPauseAndResume(t *testing.T) {
	s := renew.State{Dir: filepath.Join(t.TempDir(), "state")}
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	if p := s.Paused(noon); p != nil {
		t.Errorf("never paused, and paused: %+v", p)
	}
	if was, err := s.Resume(); was || err != nil {
		t.Errorf("resume of what was not paused: %t, %v", was, err)
	}
	for _, c := range []struct {
		pause renew.Pause
		text  string
		over  time.Duration // after noon, when it is over; 0: never
	}{
		{renew.Pause{Since: noon}, "paused until resumed", 0},
		{renew.Pause{Since: noon, By: "ann"}, "paused until resumed (by ann)", 0},
		{renew.Pause{Since: noon, Reason: "move"}, "paused until resumed (move)", 0},
		{renew.Pause{Since: noon, Until: noon.Add(2 * time.Hour), By: "ann", Reason: "kubeadm upgrade"},
			"paused until 2026-03-01 14:00:00 UTC (by ann: kubeadm upgrade)", 2 * time.Hour},
	} {
		if err := s.Pause(c.pause); err != nil {
			t.Fatal(err)
		}
		again := renew.State{Dir: s.Dir} // another process, after a restart
		got := again.Paused(noon)
		if diff := cmp.Diff(&c.pause, got); diff != "" {
			t.Fatalf("%s (-want +got)\n%s", c.text, diff)
		}
		if got.String() != c.text {
			t.Errorf("says %q, want %q", got, c.text)
		}
		far := noon.Add(100 * 365 * 24 * time.Hour)
		if c.over > 0 {
			if again.Paused(noon.Add(c.over-time.Second)) == nil {
				t.Errorf("%s: over a second early", c.text)
			}
			far = noon.Add(c.over)
		}
		if got := again.Paused(far); (got == nil) != (c.over > 0) {
			t.Errorf("%s: at %s it is %+v", c.text, far, got)
		}
		if _, err := os.Stat(marker(s)); err != nil {
			t.Errorf("reading has removed it: %v", err)
		}
	}
	for path, want := range map[string]os.FileMode{marker(s): 0o600, filepath.Dir(marker(s)): 0o700 | os.ModeDir, s.Dir: 0o700 | os.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
	if was, err := s.Resume(); !was || err != nil {
		t.Errorf("resume: %t, %v", was, err)
	}
	if p := s.Paused(noon); p != nil {
		t.Errorf("resumed, and paused: %+v", p)
	}
	if left, err := os.ReadDir(filepath.Dir(marker(s))); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Whoever put a marker there did not want anything to be touched.
func TestPauseUnreadable(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"empty":     func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"truncated": func(path string) error { return os.WriteFile(path, []byte(`{"since": "2026-03-01T`), 0o600) },
		"no time":   func(path string) error { return os.WriteFile(path, []byte(`{"until": "tomorrow"}`), 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"loop":      func(path string) error { return os.Symlink(path, path) },
	} {
		t.Run(name, func(t *testing.T) {
			s := renew.State{Dir: t.TempDir()}
			if err := errors.Join(os.Mkdir(filepath.Dir(marker(s)), 0o700), damage(marker(s))); err != nil {
				t.Fatal(err)
			}
			p := s.Paused(time.Now())
			if p == nil {
				t.Fatal("it does not count as a pause")
			}
			for _, word := range []string{"paused until resumed (", marker(s), "cannot be read", "'kubecertd resume' removes it"} {
				if !strings.Contains(p.String(), word) {
					t.Errorf("no %q in %q", word, p)
				}
			}
			if was, err := s.Resume(); !was || err != nil || s.Paused(time.Now()) != nil {
				t.Errorf("resume: %t, %v", was, err)
			}
		})
	}
}

// A pause and what else is at work keep a run from beginning, and are all that does.
func TestExcluded(t *testing.T) {
	var n *fakeNode
	for _, c := range []struct {
		name       string
		begin, end func()
		gate       renew.Gate
	}{
		{name: "paused", begin: func() {
			if err := n.State.Pause(renew.Pause{By: "ann"}); err != nil {
				t.Fatal(err)
			}
		}, end: func() { _, _ = n.State.Resume() },
			gate: renew.Gate{Name: "paused", Reason: "paused until resumed (by ann)", Remedy: "it goes on by itself afterwards; at once: kubecertd resume"}},
		{name: "kubeadm", begin: func() {
			fakeProcess(t, n.Host.Proc, 77, 1, "S (sleeping)", "", "kubeadm", "kubeadm", "upgrade", "node")
		},
			end: func() { _ = os.RemoveAll(filepath.Join(n.Host.Proc, "77")) },
			gate: renew.Gate{Name: "host", Reason: "kubeadm upgrade node is running (process 77)",
				Remedy: "it is waited for, and this follows by itself; should it hang: ps -fp 77"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n = newFakeNode(t)
			n.only("scheduler.conf")
			calls := len(n.calls())
			c.begin()
			_, look, err := n.Act(t.Context(), renew.Wish{}, "test")
			var blocked *renew.BlockedError
			if !errors.As(err, &blocked) || !cmp.Equal([]renew.Gate{c.gate}, blocked.Gates) {
				t.Fatalf("blocked by %+v, want %+v", err, c.gate)
			}
			if len(n.calls()) != calls || len(n.rest()) > 0 {
				t.Errorf("touched: %v, %v", n.calls(), n.done())
			}
			if paused := c.name == "paused"; (look.Plan.Paused != nil) != paused || (n.ObserveDisk(time.Now()).Paused != nil) != paused {
				t.Errorf("the plan says paused: %v", look.Plan.Paused)
			}
			c.end()
			if id, _, err := n.Act(t.Context(), renew.Wish{}, "test"); err != nil || id == "" {
				t.Errorf("afterwards: run %q, %v", id, err)
			}
		})
	}
}

// What a run that was cut off has left waits as well: for a person, and for a kubeadm
// that may still be writing it.
func TestRecoverWaits(t *testing.T) {
	for _, by := range []string{"pause", "kubeadm"} {
		t.Run(by, func(t *testing.T) {
			n := newFakeNode(t)
			before := n.read(n.files.Certificate("apiserver"))
			n.cutOff("apiserver", ": >"+n.files.Certificate("apiserver"))
			if by == "pause" {
				n.mustDo(n.State.Pause(renew.Pause{}))
			} else {
				fakeProcess(t, n.Host.Proc, 77, 1, "R (running)", "", "kubeadm", "kubeadm", "certs", "renew", "apiserver")
			}
			var blocked *renew.BlockedError
			if err := n.Recover(t.Context()); !errors.As(err, &blocked) {
				t.Errorf("recovered with %v, want that it is blocked", err)
			}
			if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); !errors.As(err, &blocked) {
				t.Errorf("acted with %v, want that it is blocked", err)
			}
			if got := n.read(n.files.Certificate("apiserver")); len(got) > 0 {
				t.Error("it was put back meanwhile")
			}
			_, err := n.State.Resume()
			n.mustDo(err, os.RemoveAll(filepath.Join(n.Host.Proc, "77")), n.Recover(t.Context()))
			if got := n.read(n.files.Certificate("apiserver")); !bytes.Equal(got, before) {
				t.Error("it was not put back afterwards")
			}
		})
	}
}

// A pause is shown when there is nothing to do, too, and the loop wakes at its end.
func TestLoopWakesAtTheEndOfAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := loop(t, &manager{}, func(l *renew.Loop) {
			if err := l.Node.State.Pause(renew.Pause{Until: time.Now().Add(2 * time.Hour)}); err != nil {
				t.Fatal(err)
			}
		}, func() { time.Sleep(15 * time.Hour) })
		if diff := cmp.Diff([]time.Duration{0, 2 * time.Hour, 14 * time.Hour}, host.looks); diff != "" {
			t.Errorf("looks (-want +got):\n%s", diff)
		}
	})
}

// What changes after a look has begun must wake the next one.
func TestLoopWatchesBeforeItLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &manager{}
		var said []int // how often the service manager had been told anything
		loop(t, m, func(l *renew.Loop) {
			l.Watch = func([]string) { said = append(said, len(m.said)) }
		}, func() { time.Sleep(time.Hour) })
		if diff := cmp.Diff([]int{0}, said); diff != "" {
			t.Errorf("watched after what had been said (-want +got):\n%s", diff)
		}
	})
}

// reader is a service manager that keeps what it is told to show.
type reader struct {
	manager
	mu   sync.Mutex
	text string
}

func (r *reader) Status(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = text
}

// shows waits until the status has these words, in this order.
func (r *reader) shows(t *testing.T, first string, words ...string) {
	t.Helper()
	var text string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		r.mu.Lock()
		text = r.text
		r.mu.Unlock()
		rest, ok := strings.CutPrefix(text, first)
		for _, word := range words {
			var found bool
			_, rest, found = strings.Cut(rest, word)
			ok = ok && found
		}
		if ok {
			return
		}
	}
	t.Fatalf("the status is %q, want %q and then %q", text, first, words)
}

// The daemon notices a pause and its end at once, even right after a failed run, and
// is not woken by what it writes itself.
func TestLoopNoticesThePause(t *testing.T) {
	n := newFakeNode(t)
	n.instead("admin.conf", "echo CA key not found >&2; exit 1")
	n.only("admin.conf")
	before := len(n.calls())
	if err := n.State.Pause(renew.Pause{Reason: "move"}); err != nil {
		t.Fatal(err)
	}
	watcher, err := renew.NewWatcher(20*time.Millisecond, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	shown := &reader{}
	l := &renew.Loop{Node: n.Node, Interval: 12 * time.Hour, Retry: time.Hour, Notify: shown, Wake: watcher.Wake(), Watch: watcher.Watch}
	done := make(chan error, 2)
	go func() { watcher.Run(ctx); done <- nil }()
	go func() { done <- l.Run(ctx) }()

	shown.shows(t, "paused until resumed (move); ", "1 to renew: admin.conf", "expires first")
	if tries := len(n.calls()) - before; tries != 0 {
		t.Errorf("kubeadm was tried %d times during the pause", tries)
	}
	if _, err := n.State.Resume(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); len(n.calls()) == before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the end of the pause was not noticed")
		}
	}
	shown.shows(t, "1 to renew: admin.conf")
	if err := n.State.Pause(renew.Pause{Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	shown.shows(t, "paused until 20")
	time.Sleep(200 * time.Millisecond)
	cancel()
	if err := errors.Join(<-done, <-done); err != nil {
		t.Fatal(err)
	}
	if tries := len(n.calls()) - before; tries != 1 {
		t.Errorf("kubeadm was tried %d times, want once between the pauses", tries)
	}
}

func TestRunUnderWay(t *testing.T) {
	n := newFakeNode(t)
	n.only("scheduler.conf")
	if pid, yes := n.State.RunUnderWay(); yes {
		t.Errorf("no run is under way, and one by %q is", pid)
	}
	var yes bool
	n.onStop = func(string) { _, yes = n.State.RunUnderWay() }
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "test"); err != nil {
		t.Fatal(err)
	}
	if !yes {
		t.Error("a run is under way and is not seen")
	}
}
