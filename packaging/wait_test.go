package packaging_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const runLock = "var/lib/kubecertd/run.lock"

// underWay makes a run be under way on the host, until ended.
func (h *fakeHost) underWay() (end func()) {
	h.t.Helper()
	h.write(filepath.Join(h.root, runLock), "4711\n", 0o600)
	f, err := os.OpenFile(filepath.Join(h.root, runLock), os.O_RDWR, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = f.Close() })
	return func() { _ = f.Close() }
}

const waits = "kubecertd: a run is under way (process 4711); waiting for its end, 15 minutes at most\n"

// A run of somebody's shell is waited for before the files go away.
func TestRemovalWaitsForARun(t *testing.T) {
	need(t, "flock")
	for _, args := range []string{"remove", "0"} {
		t.Run(args, func(t *testing.T) {
			h := newFakeHost(t, fakeState{systemd: true, active: true})
			end := h.underWay()
			type result struct {
				out string
				err error
			}
			done := make(chan result, 1)
			go func() {
				out, err := command(".", append(h.env, "DPKG_ROOT="+h.root), "./prerm.sh", args)
				done <- result{out, err}
			}()
			select {
			case r := <-done:
				t.Fatalf("it has not waited: %v, says %q", r.err, r.out)
			case <-time.After(time.Second):
			}
			if calls := h.calls(); len(calls) != 1 || calls[0] != stop {
				t.Errorf("calls before the end of the run: %q, want only %q", calls, stop)
			}
			end()
			select {
			case r := <-done:
				if r.err != nil || r.out != waits {
					t.Errorf("ended with %v, says %q", r.err, r.out)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the run has ended and it still waits")
			}
			if calls := h.calls(); len(calls) != 1 || calls[0] != disable {
				t.Errorf("calls after the end of the run: %q", calls)
			}
		})
	}
}

// It does not wait for ever, and an upgrade not at all: a run goes on with the program
// that it was started from.
func TestRemovalWaitsBounded(t *testing.T) {
	for _, c := range []struct {
		args, calls, says string
	}{
		{"remove", stop + "|flock --nonblock ROOT/" + runLock + " true|flock --timeout 900 ROOT/" + runLock + " true|" + disable,
			waits + "kubecertd: the run has not ended; it goes on without its files: see 'ps -fp 4711'\n"},
		{"upgrade 1.1.0", "", ""},
		{"1", "", ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			h := newFakeHost(t, fakeState{systemd: true, active: true})
			h.underWay()
			bin, _, _ := strings.Cut(strings.TrimPrefix(h.env[0], "PATH="), ":")
			h.write(filepath.Join(bin, "flock"), "#!/bin/sh\necho \"flock $*\" | sed \"s|$ROOT|ROOT|\" >>\"$CALLS\"\nexit 1\n", 0o755)
			out, err := command(".", append(h.env, "DPKG_ROOT="+h.root), "./prerm.sh", strings.Fields(c.args)...)
			if err != nil || out != c.says {
				t.Errorf("ended with %v, says %q, want %q", err, out, c.says)
			}
			if got := strings.Join(h.calls(), "|"); got != c.calls {
				t.Errorf("calls\n%s\nwant\n%s", got, c.calls)
			}
		})
	}
}
