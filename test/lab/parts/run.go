//go:build linux

package parts

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"syscall"
	"time"
)

// goEnv keeps builds independent of the caller's settings. Static binaries
// run in an image that holds nothing else.
var goEnv = []string{"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-buildvcs=false", "GOTOOLCHAIN=local"}

// command is one program to run.
type command struct {
	dir    string
	env    []string // beside this process's own
	argv   []string
	stdout io.Writer // the log when nil
	// sealed gives it mounts and processes of its own, which end with it.
	sealed bool
}

// run runs a command to its end and keeps its last words for the error. When
// ctx ends the whole process group is killed, and so is the command when this
// process is.
func run(ctx context.Context, log io.Writer, c command) error {
	// The parent-death signal comes when the starting thread ends.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()

	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), c.env...)
	last := &tail{limit: 2000}
	cmd.Stderr = io.MultiWriter(log, last)
	cmd.Stdout = c.stdout
	if cmd.Stdout == nil {
		cmd.Stdout = cmd.Stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if c.sealed {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
		cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if _, err := fmt.Fprintf(log, "+ %s\n", strings.Join(c.argv, " ")); err != nil {
		return fmt.Errorf("write the build's log: %w", err)
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: %w\n%s", c.argv[0], err, last)
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct {
	limit int
	buf   bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if over := t.buf.Len() - t.limit; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(t.buf.String()) }
