//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	nspawnProgram = "systemd-nspawn"
	// haltSignal makes systemd power off cleanly, see systemd(1): SIGRTMIN+4.
	haltSignal = unix.Signal(34 + 4)

	bootTimeout = 60 * time.Second
	// pollInterval is how often is looked whether a process has ended.
	pollInterval = 50 * time.Millisecond
	haltTimeout  = 90 * time.Second
	killTimeout  = 20 * time.Second
	// supervisorGrace is more than systemd-nspawn needs after its machine.
	supervisorGrace = 5 * time.Second
)

// ErrOff says that a machine is switched off.
var ErrOff = errors.New("the machine is off")

// enterScript moves itself into the given cgroups and becomes the command
// after the dashes. Go can start a process only in one of cgroup v2.
const enterScript = `while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@"`

func (m *Machine) directoryFlag() string { return "--directory=" + m.Root() }

// nspawn is the command line of the machine.
func (m *Machine) nspawn() []string {
	return []string{
		nspawnProgram, m.directoryFlag(), "--boot",
		"--machine=" + m.fullName(), "--hostname=" + m.name,
		// No machined and no scope: there may be no systemd on the host, and
		// the machine has cgroups of its own already.
		"--register=no", "--keep-unit",
		"--network-namespace-path=" + m.namespace(),
		"--console=read-only", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
		// What containerd, runc and the kubelet need beyond nspawn's default.
		"--capability=all", "--system-call-filter=@raw-io bpf @keyring @mount", "--bind=/dev/kmsg",
	}
}

// fullName is the machine's name among all of the host.
func (m *Machine) fullName() string { return "kubecertd-lab-" + m.lab.name + "-" + m.name }

// Boot switches the machine on and waits until its systemd has started what
// it is to start. It needs root.
func (m *Machine) Boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	if _, err := m.leader(); err == nil {
		return fmt.Errorf("boot %s: it is on", m.name)
	}
	if err := m.start(ctx); err != nil {
		return fmt.Errorf("boot %s: %w", m.name, err)
	}
	if err := m.booted(ctx); err != nil {
		return fmt.Errorf("boot %s (see %s): %w", m.name, m.Console(), err)
	}
	return nil
}

// Console is the host path of what the machine wrote to its console.
func (m *Machine) Console() string { return filepath.Join(m.dir(), "console.log") }

func (m *Machine) start(ctx context.Context) error {
	groups, err := makeCgroups(ctx, m.cgroup())
	if err != nil {
		return err
	}
	console, err := os.OpenFile(m.Console(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open its console: %w", err)
	}
	defer func() { _ = console.Close() }()

	argv := append([]string{"-c", enterScript, "sh"}, groups...)
	argv = append(append(argv, "--"), m.nspawn()...)
	cmd := exec.Command("/bin/sh", argv...)
	cmd.Stdout, cmd.Stderr = console, console
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_API_VFS_WRITABLE=1")
	// A session of its own: the machine outlives this process and its terminal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", nspawnProgram, err)
	}
	return cmd.Process.Release()
}

// booted waits for systemd to have nothing left to start.
func (m *Machine) booted(ctx context.Context) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if _, err := m.leader(); err == nil {
			result, err := m.Run(ctx, "systemctl", "is-system-running", "--wait")
			state := strings.TrimSpace(result.Stdout)
			switch {
			case state == "running" || state == "degraded":
				return nil
			case ctx.Err() != nil:
				return fmt.Errorf("systemd is %q: %w", state, errors.Join(ctx.Err(), err))
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for its PID 1: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

// PowerOff shuts the machine down as its power button would.
func (m *Machine) PowerOff(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, haltTimeout)
	defer cancel()
	if err := m.halt(ctx); err != nil {
		return fmt.Errorf("power %s off: %w", m.name, err)
	}
	return m.PowerCut(ctx)
}

func (m *Machine) halt(ctx context.Context) error {
	leaders, err := processes(m.isLeader)
	defer closeAll(leaders)
	if err != nil {
		return err
	}
	for _, p := range leaders {
		if err := p.signal(haltSignal); err != nil {
			return err
		}
		for ended := false; !ended; {
			if ctx.Err() != nil {
				return fmt.Errorf("it is still on: %w", ctx.Err())
			}
			if ended, err = p.wait(pollInterval); err != nil {
				return err
			}
		}
	}
	return nil
}

// PowerCut takes the power from the machine: every process is gone at once.
// What was written is kept, as the kernel lives on. A machine that is off
// stays off, and one that is only being started is too.
func (m *Machine) PowerCut(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	// The supervisor cleans up behind its machine, if it is given the time.
	patience := time.Now().Add(supervisorGrace)
	for {
		left, err := m.kill(time.Now().After(patience))
		if err == nil && !left {
			return removeCgroups(ctx, m.cgroup())
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("cut the power of %s: %w", m.name, err)
		}
	}
}

// kill kills PID 1 of the machine, and its supervisor too if it must be, and
// waits a little. It says whether there was anything left to kill.
func (m *Machine) kill(supervisors bool) (left bool, err error) {
	found, err := processes(func(pid int) bool { return m.isLeader(pid) || m.isSupervisor(pid) })
	defer closeAll(found)
	if err != nil {
		return true, err
	}
	for _, p := range found {
		if supervisors || m.isLeader(p.pid) {
			if err := p.signal(unix.SIGKILL); err != nil {
				return true, err
			}
		}
		if _, err := p.wait(pollInterval); err != nil {
			return true, err
		}
	}
	return len(found) > 0, nil
}
