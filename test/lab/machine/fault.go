//go:build linux

package machine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// CutNetwork pulls the machine's cable: nothing gets in or out, and the
// machine sees that it has no carrier. Its own address and 127.0.0.1 stay.
func (m *Machine) CutNetwork() error { return m.setLink(netlink.LinkSetDown, "cut") }

// RestoreNetwork plugs the cable in again.
func (m *Machine) RestoreNetwork() error { return m.setLink(netlink.LinkSetUp, "restore") }

func (m *Machine) setLink(set func(netlink.Link) error, what string) error {
	link, err := netlink.LinkByName(m.link())
	if err == nil {
		err = set(link)
	}
	if err != nil {
		return fmt.Errorf("%s the network of %s at %s: %w", what, m.name, m.link(), err)
	}
	return nil
}

// Pids are the processes of the machine, containers included, whose program
// has this name, as the machine numbers them.
func (m *Machine) Pids(program string) ([]int, error) {
	leader, err := m.leader()
	if err != nil {
		return nil, err
	}
	proc := fmt.Sprintf("/proc/%d/root/proc", leader)
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, fmt.Errorf("list the processes of %s: %w", m.name, err)
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join(proc, entry.Name(), "cmdline"))
		if err != nil {
			continue // it has ended
		}
		first, _, _ := strings.Cut(string(line), "\x00")
		if filepath.Base(first) == program {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// Pid is the one process of the machine whose program has this name, as the
// machine numbers it.
func (m *Machine) Pid(program string) (int, error) {
	pids, err := m.Pids(program)
	if err != nil {
		return 0, err
	}
	if len(pids) != 1 {
		return 0, fmt.Errorf("%s has %d processes of the name %s: want one", m.name, len(pids), program)
	}
	return pids[0], nil
}

// Freeze stops a process, by the machine's number, where it stands, and returns when
// none of its threads runs any more: on a busy host they go on for a while.
func (m *Machine) Freeze(ctx context.Context, pid int) error {
	_, err := m.Run(ctx, "sh", "-c", `kill -STOP "$0" || exit
for i in $(seq 500); do
	grep -L '^State:.T' /proc/"$0"/task/*/status | grep -q . || exit 0
	sleep 0.01
done
echo "process $0 has not stopped within 5 s" >&2
exit 1`, strconv.Itoa(pid))
	return err
}

// Thaw lets a frozen process go on.
func (m *Machine) Thaw(ctx context.Context, pid int) error {
	_, err := m.Run(ctx, "kill", "-CONT", strconv.Itoa(pid))
	return err
}
