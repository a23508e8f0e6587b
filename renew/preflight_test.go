package renew_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// servers stand for what credentials are tried against.
type servers struct {
	mu          sync.Mutex
	tried       map[string]string // the SHA-256 of what was tried
	refuse      string
	unreachable bool
}

func (s *servers) Try(_ context.Context, c pki.Certificate) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tried == nil {
		s.tried = map[string]string{}
	}
	s.tried[c.Name] = c.SHA256
	switch {
	case s.unreachable:
		return false, errors.New("dial tcp 192.0.2.1:6443: connection refused")
	case c.Name == s.refuse:
		return true, errors.New("401 Unauthorized")
	default:
		return false, nil
	}
}

// whileTrying does something while credentials are tried.
type whileTrying struct {
	*servers
	do func(name string)
}

func (w whileTrying) Try(ctx context.Context, c pki.Certificate) (bool, error) {
	w.do(c.Name)
	return w.servers.Try(ctx, c)
}

// A component that crashed and came back while a new certificate was there that was then
// put back has read what nobody accepts.
func TestPreflightRefusedAndRead(t *testing.T) {
	t.Parallel()
	n := schedulerOnly(t)
	n.Credentials = whileTrying{&servers{refuse: "scheduler.conf"}, func(string) {
		// The kernel stamps inodes with a clock that is some milliseconds behind.
		time.Sleep(20 * time.Millisecond)
		n.pods[renew.Scheduler] = renew.Component{Name: renew.Scheduler, ID: "by-itself", Running: true, Started: n.Now()}
		time.Sleep(20 * time.Millisecond)
	}}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err == nil {
		t.Fatal("nothing was refused")
	}
	if !slices.Contains(n.done(), "stop by-itself") {
		t.Errorf("steps %q: it was left with what was put back", n.done())
	}
}

// Each renewed credential is tried, as it is on disk now, before anything is stopped.
func TestPreflight(t *testing.T) {
	t.Parallel()
	n, s := newFakeNode(t), &servers{}
	n.Credentials = s
	n.onStop = func(name string) {
		if len(s.tried) != len(renewable) {
			t.Errorf("%s was stopped when %d credentials had been tried", name, len(s.tried))
		}
	}
	if _, look, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	} else if before, _ := look.Observation.Certificate("scheduler.conf"); s.tried["scheduler.conf"] == before.SHA256 {
		t.Error("the old scheduler.conf was tried")
	}
	if diff := cmp.Diff(alone, n.done()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// One that is refused is put back, and what holds it alone is not restarted.
func TestPreflightRefused(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.Credentials = &servers{refuse: "scheduler.conf"}
	file := n.files.Certificate("scheduler.conf")
	before := n.read(file)
	_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
	if err == nil || !strings.Contains(err.Error(), "the new scheduler.conf is refused by the server it is for: 401 Unauthorized") {
		t.Errorf("error %v", err)
	}
	if !bytes.Equal(n.read(file), before) {
		t.Error("it was not put back")
	}
	var want []string
	for _, step := range alone {
		if !strings.HasSuffix(step, renew.Scheduler) && !strings.HasSuffix(step, renew.Scheduler+"-1") {
			want = append(want, step)
		}
	}
	if diff := cmp.Diff(want, n.done()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	look := n.Look(t.Context(), renew.Wish{})
	if f := look.Observation.Failures["renew scheduler.conf"]; f.Count != 1 || look.Plan.Work() {
		t.Errorf("failures %+v, plan %+v; want one failure and nothing to do now", look.Observation.Failures, look.Plan)
	}
}

// A server that cannot be reached says nothing about a credential.
func TestPreflightUnreachable(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.Credentials = &servers{unreachable: true}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(alone, n.done()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}
