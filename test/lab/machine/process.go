//go:build linux

package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is a process of the host, held by a descriptor: the number may pass
// to another process, the descriptor does not.
type process struct {
	pid int
	fd  int
}

// openProcess holds the process pid if is(pid) says that it is the wanted one.
func openProcess(pid int, is func(pid int) bool) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("hold process %d: %w", pid, err)
	}
	// Asked after it is held, so that the answer is about what is held.
	if !is(pid) {
		_ = unix.Close(fd)
		return nil, nil
	}
	return &process{pid: pid, fd: fd}, nil
}

func (p *process) close() { _ = unix.Close(p.fd) }

func closeAll(processes []*process) {
	for _, p := range processes {
		p.close()
	}
}

func (p *process) signal(s unix.Signal) error {
	err := unix.PidfdSendSignal(p.fd, s, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(s), p.pid, err)
	}
	return nil
}

// wait waits for the process to end, at most for limit, and reaps it if it is
// our child.
func (p *process) wait(limit time.Duration) (ended bool, err error) {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(limit.Milliseconds()))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return false, fmt.Errorf("wait for process %d: %w", p.pid, err)
	}
	if n <= 0 {
		return false, nil
	}
	_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil) // not ours to reap, mostly
	return true, nil
}

// processes holds all processes of the host for which is(pid) is true. The
// caller closes them.
func processes(is func(pid int) bool) ([]*process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []*process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || !is(pid) {
			continue
		}
		p, err := openProcess(pid, is)
		if err != nil {
			return found, err
		}
		if p != nil {
			found = append(found, p)
		}
	}
	return found, nil
}

// isLeader says whether pid is the machine's PID 1: the first process of a
// PID namespace right below ours whose root file system is the machine's.
func (m *Machine) isLeader(pid int) bool {
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return false
	}
	for line := range bytes.Lines(status) {
		if ids, ok := bytes.CutPrefix(line, []byte("NSpid:")); ok {
			fields := strings.Fields(string(ids))
			return len(fields) == 2 && fields[1] == "1" && m.hasRoot(pid)
		}
	}
	return false
}

// hasRoot says whether the process sees the machine's overlay as its root.
// The folder that holds the machine's changes is in the mount's options and
// belongs to no other mount.
func (m *Machine) hasRoot(pid int) bool {
	mounts, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "mountinfo"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && fields[4] == "/" {
			options := strings.Split(fields[len(fields)-1], ",")
			if slices.Contains(options, "upperdir="+m.upper()) {
				return true
			}
		}
	}
	return false
}

// isSupervisor says whether pid is the systemd-nspawn of this machine, or the
// shell that is about to become it.
func (m *Machine) isSupervisor(pid int) bool {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return false
	}
	args := strings.Split(string(line), "\x00")
	return slices.Contains(args, m.directoryFlag()) && slices.Contains(args, nspawnProgram)
}

// leader is the machine's PID 1 as the host numbers it.
func (m *Machine) leader() (int, error) {
	data, err := os.ReadFile(m.leaderFile())
	if err == nil {
		if pid, err := strconv.Atoi(string(data)); err == nil && m.isLeader(pid) {
			return pid, nil
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("find PID 1 of %s: %w", m.name, err)
	}
	found, err := processes(m.isLeader)
	defer closeAll(found)
	if err != nil {
		return 0, fmt.Errorf("find PID 1 of %s: %w", m.name, err)
	}
	if len(found) == 0 {
		return 0, fmt.Errorf("%s: %w", m.name, ErrOff)
	}
	pid := found[0].pid
	if err := os.WriteFile(m.leaderFile(), []byte(strconv.Itoa(pid)), 0o600); err != nil {
		return 0, fmt.Errorf("remember PID 1 of %s: %w", m.name, err)
	}
	return pid, nil
}

// leaderFile only saves a search: what it says is checked each time.
func (m *Machine) leaderFile() string { return filepath.Join(m.dir(), "leader") }
