package renew

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Program is a program of the administrator's: a hook, or who is told of an event.
type Program struct {
	// Argv is its absolute path and its arguments. No shell reads them.
	Argv []string
	// Timeout is after what time it is killed, with all that it has started.
	Timeout time.Duration
}

// programPath is where it finds other programs. The daemon's own environment is not
// handed on: credentials may be in it.
const programPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// signOfLife is how often the service manager hears that a program is waited for.
const signOfLife = 10 * time.Second

// Run runs it with nothing to read, and with these variables besides PATH, HOME and
// LC_ALL. It returns the first 64 KiB of what it said. alive is called while it is waited
// for; it may be nil.
func (p Program) Run(ctx context.Context, variables []string, alive func()) (output string, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Argv[0], p.Argv[1:]...)
	cmd.Env = append([]string{programPath, "HOME=/root", "LC_ALL=C"}, variables...)
	cmd.Dir = "/"
	// Its own process group, so that what it has started is killed with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	var said bytes.Buffer
	out := &limited{&said}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("%s: %w: it has to be there, executable, and to begin with #! if it is a script", p.Argv[0], reasonOf(err))
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ticker := time.NewTicker(signOfLife)
	defer ticker.Stop()
	for waiting := true; waiting; {
		select {
		case err = <-ended:
			waiting = false
		case <-ticker.C:
			if alive != nil {
				alive()
			}
		}
	}
	output = strings.TrimSpace(strings.ToValidUTF8(said.String(), "\uFFFD"))
	switch {
	case errors.Is(err, exec.ErrWaitDelay):
		// It ended well, and something of its group still holds its output.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return output, nil
	case err == nil:
		return output, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return output, fmt.Errorf("%s did not end within %s and was killed with all that it had started", p.Argv[0], p.Timeout)
	case ctx.Err() != nil:
		return output, fmt.Errorf("%s was killed: %w", p.Argv[0], context.Cause(ctx))
	default:
		return output, fmt.Errorf("%s: %w", p.Argv[0], err)
	}
}

// reasonOf is an error without the path in it.
func reasonOf(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
