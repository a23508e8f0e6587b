//go:build linux

package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// environment is what a command in a machine starts with.
var environment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root", "LANG=C.UTF-8", "KUBECONFIG=/etc/kubernetes/admin.conf",
}

// Result is how a command ended.
type Result struct {
	Stdout   string
	Stderr   string
	ExitCode int
}

// ExitError is the error of a command that ended with another code than 0.
type ExitError struct {
	Machine string
	Argv    []string
	Result
}

func (e *ExitError) Error() string {
	said := strings.TrimSpace(e.Stderr)
	if said == "" {
		said = strings.TrimSpace(e.Stdout)
	}
	return fmt.Sprintf("%s: %s: exit code %d: %s", e.Machine, strings.Join(e.Argv, " "), e.ExitCode, said)
}

// Command returns a command to be run in the machine, for streams and input
// of the caller's choice. It belongs to none of the machine's units. When ctx
// ends, it and its children are killed.
func (m *Machine) Command(ctx context.Context, argv ...string) (*exec.Cmd, error) {
	leader, err := m.leader()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{
		"--target", strconv.Itoa(leader), "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup",
		"--",
	}, argv...)...)
	cmd.Env = environment
	// nsenter forks, and killing it alone would leave the command behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}

// Run runs a command in the machine to its end. An exit code other than 0 is
// an *ExitError; the result is filled in all the same.
func (m *Machine) Run(ctx context.Context, argv ...string) (Result, error) {
	cmd, err := m.Command(ctx, argv...)
	if err != nil {
		return Result{ExitCode: -1}, err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	result := Result{Stdout: stdout.String(), Stderr: stderr.String(), ExitCode: cmd.ProcessState.ExitCode()}
	switch {
	case ctx.Err() != nil:
		return result, fmt.Errorf("%s: %s: %w", m.name, strings.Join(argv, " "), ctx.Err())
	case err != nil && errors.As(err, new(*exec.ExitError)):
		return result, &ExitError{Machine: m.name, Argv: argv, Result: result}
	case err != nil:
		return result, fmt.Errorf("%s: %s: %w", m.name, strings.Join(argv, " "), err)
	}
	return result, nil
}

// Copy copies a file of the host into the machine, in place if it is there.
func (m *Machine) Copy(hostPath, path string, mode fs.FileMode) error {
	data, err := os.ReadFile(hostPath)
	if err != nil {
		return fmt.Errorf("copy to %s: %w", m.name, err)
	}
	return m.WriteFile(path, data, mode)
}

// ReadFile reads a file as the machine sees it.
func (m *Machine) ReadFile(path string) ([]byte, error) {
	f, err := m.open(path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var b bytes.Buffer
	if _, err := b.ReadFrom(f); err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", path, m.name, err)
	}
	return b.Bytes(), nil
}

// WriteFile writes a file as the machine sees it, in place if it is there,
// and gives it the mode. Its folder must exist.
func (m *Machine) WriteFile(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := m.open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write %s of %s: %w", path, m.name, err)
	}
	if err := f.Chmod(mode); err != nil {
		return fmt.Errorf("set the mode of %s of %s: %w", path, m.name, err)
	}
	return nil
}

// Overwrite writes a file that is there, in place, so that it keeps its mode,
// its owner and its inode.
func (m *Machine) Overwrite(path string, data []byte) (err error) {
	f, err := m.open(path, unix.O_WRONLY|unix.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("overwrite %s of %s: %w", path, m.name, err)
	}
	return nil
}

// open opens a file with symbolic links followed as the machine does. While
// it runs that includes what only it has mounted, such as /run.
func (m *Machine) open(path string, flags int, mode fs.FileMode) (*os.File, error) {
	root := m.Root()
	if leader, err := m.leader(); err == nil {
		root = fmt.Sprintf("/proc/%d/root", leader)
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the root of %s: %w", m.name, err)
	}
	defer func() { _ = unix.Close(dir) }()
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Mode: uint64(mode.Perm()), Resolve: unix.RESOLVE_IN_ROOT}
	if flags&unix.O_CREAT == 0 {
		how.Mode = 0
	}
	fd, err := unix.Openat2(dir, path, &how)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: m.name + ":" + path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
