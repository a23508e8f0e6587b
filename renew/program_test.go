package renew_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
)

// program writes a shell script and returns its path.
func program(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+strings.Join(lines, "\n")+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProgram(t *testing.T) {
	for _, test := range []struct {
		name, script, output, problem string
	}{
		{"says something on both", "echo out; echo err >&2", "out\nerr", ""},
		{"fails", "echo no; exit 3", "no", "exit status 3"},
		{"has nothing to read", "cat; echo end", "end", ""},
		{"begins at the root", "pwd", "/", ""},
		{"says more than is kept", "head -c 100000 /dev/zero | tr '\\0' x", strings.Repeat("x", 64<<10), ""},
		{"leaves somebody behind", "sleep 300 & echo done", "done", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			output, err := renew.Program{Argv: []string{program(t, test.script)}, Timeout: time.Minute}.Run(t.Context(), nil, nil)
			if output != test.output {
				t.Errorf("output is %.200q, want %.200q", output, test.output)
			}
			if (err != nil) != (test.problem != "") || err != nil && !strings.Contains(err.Error(), test.problem) {
				t.Errorf("error is %v, want %q", err, test.problem)
			}
		})
	}
}

func TestProgramThatIsNotThere(t *testing.T) {
	_, err := renew.Program{Argv: []string{"/nonexistent/program"}, Timeout: time.Minute}.Run(t.Context(), nil, nil)
	want := "/nonexistent/program: no such file or directory: it has to be there, executable, and to begin with #! if it is a script"
	if err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}

// The daemon's own environment may hold credentials, and is not handed on.
func TestProgramsEnvironment(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/kubecertd.service")
	output, err := renew.Program{Argv: []string{"/usr/bin/env"}, Timeout: time.Minute}.Run(t.Context(), []string{"KUBECERTD_EVENT=test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(output, "\n")
	slices.Sort(got)
	want := []string{"HOME=/root", "KUBECERTD_EVENT=test", "LC_ALL=C", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got)\n%s", diff)
	}
}

// One that hangs is killed with its children, which a signal to it alone would leave.
func TestProgramThatHangsIsKilledWithItsChildren(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hangs := program(t, "sleep 300 & echo $! > "+dir+"/child", "echo waiting", "wait")
	output, err := renew.Program{Argv: []string{hangs}, Timeout: time.Second}.Run(t.Context(), nil, nil)
	if want := hangs + " did not end within 1s and was killed with all that it had started"; err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
	if output != "waiting" {
		t.Errorf("what it said before is lost: %q", output)
	}
	content, err := os.ReadFile(filepath.Join(dir, "child"))
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	if !gone(t, child) {
		t.Errorf("process %d, which it has started, still runs", child)
	}
}

// gone waits until a process has ended; one that nobody has reaped has ended too.
func gone(t *testing.T, pid int) bool {
	t.Helper()
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return true
		}
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	return false
}

func TestProgramEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (renew.Program{Argv: []string{"/bin/sleep", "300"}, Timeout: time.Minute}).Run(ctx, nil, nil); err == nil {
		t.Error("it was not ended")
	}
}
