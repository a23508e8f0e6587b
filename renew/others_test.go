package renew_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// machine is a host that may be about to go down.
type machine struct {
	stopping func() (bool, error)
	delays   []string
}

func (m *machine) Stopping(context.Context) (bool, error) { return m.stopping() }

func (m *machine) DelayShutdown(_ context.Context, why string) (func(), error) {
	m.delays = append(m.delays, why)
	return func() { m.delays = append(m.delays, "released") }, nil
}

// A kubeadm upgrade that begins during the run is waited for, and what it restarted is
// not restarted again.
func TestRunWaitsForAnUpgrade(t *testing.T) {
	n := newFakeNode(t)
	n.Host.Proc = t.TempDir()
	fakeProcess(t, n.Host.Proc, 1, 0, "S (sleeping)", "", "init", "init")
	upgrade := func(begin bool) {
		if begin {
			fakeProcess(t, n.Host.Proc, 77, 1, "S (sleeping)", "", "kubeadm", "kubeadm", "upgrade", "apply")
			return
		}
		n.mu.Lock()
		c := n.pods[renew.Scheduler]
		c.ID, c.Started = "kube-scheduler-2", time.Now()
		n.pods[renew.Scheduler] = c
		n.mu.Unlock()
		n.mustDo(os.RemoveAll(filepath.Join(n.Host.Proc, "77")))
	}
	begun := time.Time{}
	n.Credentials = tried(func() {
		if begun.IsZero() {
			begun = time.Now()
			upgrade(true)
			time.AfterFunc(700*time.Millisecond, func() { upgrade(false) })
		}
	})
	n.onStop = func(string) {
		if time.Since(begun) < 700*time.Millisecond {
			t.Error("a component was stopped during the upgrade")
		}
	}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(slices.Clone(alone), func(s string) bool { return strings.Contains(s, renew.Scheduler) })
	if diff := cmp.Diff(want, n.done()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// A package manager that begins during the run is waited for, but not for long: it may
// be the removal of our own package, which waits for the run.
func TestRunDoesNotWaitForItsRemoval(t *testing.T) {
	renew.ShortPatience(t)
	n := newFakeNode(t)
	n.only("scheduler.conf")
	var release func()
	n.Credentials = tried(func() {
		_, release = hold(t, "dpkg", "write", filepath.Join(n.Host.Root, "var/lib/dpkg/lock"))
	})
	n.renewAgain("admin.conf")
	if _, _, err := n.Act(t.Context(), renew.Wish{Names: []string{"admin.conf", "scheduler.conf"}}, "command"); err != nil {
		t.Fatal(err)
	}
	if release == nil {
		t.Fatal("dpkg has not begun during the run")
	}
	if !slices.ContainsFunc(n.rest(), func(s string) bool { return strings.HasPrefix(s, "stop kube-scheduler") }) {
		t.Errorf("steps %q, want kube-scheduler restarted", n.rest())
	}
	var blocked *renew.BlockedError
	if _, _, err := n.Act(t.Context(), renew.Wish{All: true}, "command"); !errors.As(err, &blocked) {
		t.Errorf("a run that would begin now: %v, want that it waits", err)
	}
}

// tried is called once for the credentials of a run.
type tried func()

func (f tried) Try(_ context.Context, c pki.Certificate) (bool, error) {
	if c.Name == "admin.conf" {
		f()
	}
	return false, nil
}

// A machine that goes down is left alone, before the run and before the restarts; while
// one is under way a shutdown is delayed.
func TestRunAndShutdown(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		n := newFakeNode(t)
		n.Machine = &machine{stopping: func() (bool, error) { return true, nil }}
		_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
		var blocked *renew.BlockedError
		if !errors.As(err, &blocked) || blocked.Gates[0].Name != "shutdown" || len(n.calls()) > 0 {
			t.Errorf("error %v, renewed %q", err, n.calls())
		}
	})
	t.Run("during", func(t *testing.T) {
		n := newFakeNode(t)
		m := &machine{stopping: func() (bool, error) { return len(n.calls()) > 0, nil }}
		n.Machine = m
		_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
		if err == nil || !strings.Contains(err.Error(), "nothing is restarted: the machine is shutting down") || len(n.done()) > 0 {
			t.Errorf("error %v, steps %q", err, n.done())
		}
		if diff := cmp.Diff([]string{"certificates are being renewed", "released"}, m.delays); diff != "" {
			t.Errorf("delays (-want +got):\n%s", diff)
		}
	})
	t.Run("nobody knows", func(t *testing.T) {
		n := newFakeNode(t)
		n.Machine = &machine{stopping: func() (bool, error) { return false, errors.New("no systemd") }}
		if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
			t.Error(err)
		}
	})
}
