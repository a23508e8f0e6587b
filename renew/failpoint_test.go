//go:build failpoints

package renew

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childState makes this test a child that makes a record there, to be killed at it.
const childState = "KUBECERTD_TEST_FAILPOINT_STATE"

// recordOne records a run of one step.
func recordOne(t *testing.T, dir string) {
	t.Helper()
	r, err := State{Dir: dir}.record(time.Now, "timer", Plan{})
	if err == nil {
		err = errors.Join(r.begin("renew apiserver", "due"), r.end("renew apiserver", "", "", nil), r.close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func arm(t *testing.T, line string) {
	t.Helper()
	failpointFile = filepath.Join(t.TempDir(), "failpoint")
	if err := os.WriteFile(failpointFile, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Before its line is written the record lacks it, after that it is there.
func TestFailpointKills(t *testing.T) {
	if dir := os.Getenv(childState); dir != "" {
		failpointFile = filepath.Join(filepath.Dir(dir), "failpoint")
		recordOne(t, dir)
		return
	}
	for point, lines := range map[string]int{"before begin run": 0, "after begin renew apiserver": 2, "before end renew apiserver": 2, "after end renew apiserver": 3} {
		arm(t, "kill "+point)
		dir := filepath.Join(filepath.Dir(failpointFile), "state")
		child := exec.Command(os.Args[0], "-test.run=^TestFailpointKills$")
		child.Env = append(os.Environ(), childState+"="+dir)
		out, _ := child.CombinedOutput()
		if how, ok := child.ProcessState.Sys().(syscall.WaitStatus); !ok || how.Signal() != syscall.SIGKILL {
			t.Fatalf("%s: the child ended with %s: %s", point, child.ProcessState, out)
		}
		if _, err := os.Stat(failpointFile); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: still armed, and would kill it at every start (%v)", point, err)
		}
		if runs, err := (State{Dir: dir}).History(); err != nil || len(runs) != 1 || len(runs[0].Entries) != lines {
			t.Errorf("%s: %+v (%v): want %d lines", point, runs, err, lines)
		}
	}
}

func TestFailpointWaits(t *testing.T) {
	arm(t, "wait after begin renew apiserver")
	dir := filepath.Join(t.TempDir(), "state")
	done := make(chan struct{})
	go func() { defer close(done); recordOne(t, dir) }()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(failpointFile + ".reached"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the point was never reached")
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "runs", "*"))
	if content, err := os.ReadFile(files[0]); err != nil || strings.Count(string(content), "\n") != 2 {
		t.Errorf("it waits with this on disk (%v):\n%s", err, content)
	}
	if err := os.Remove(failpointFile); err != nil {
		t.Fatal(err)
	}
	<-done
}
