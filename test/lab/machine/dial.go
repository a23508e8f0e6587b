//go:build linux

package machine

import (
	"context"
	"fmt"
	"net"
	goruntime "runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// DialUnix connects to a socket in the file system of the machine, such as that of its
// container runtime. The host does not see the machine's /run, but for the eyes of its
// PID 1.
func (m *Machine) DialUnix(ctx context.Context, path string) (net.Conn, error) {
	leader, err := m.leader()
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", fmt.Sprintf("/proc/%d/root%s", leader, path))
}

// DialContext connects from within the machine, so that its 127.0.0.1 can be
// reached from a test on the host. The address must be an IP address.
func (m *Machine) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil {
		return nil, fmt.Errorf("dial %s from %s: names are not resolved there", address, m.name)
	}
	// The thread is taken out of use unless it is back where it was.
	goruntime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		goruntime.UnlockOSThread()
		return nil, fmt.Errorf("find our own network namespace: %w", err)
	}
	defer func() {
		if unix.Setns(int(home), unix.CLONE_NEWNET) == nil {
			goruntime.UnlockOSThread()
		}
		_ = home.Close()
	}()
	there, err := netns.GetFromPath(m.namespace())
	if err != nil {
		return nil, fmt.Errorf("open the network namespace of %s: %w", m.name, err)
	}
	defer func() { _ = there.Close() }()
	if err := netns.Set(there); err != nil {
		return nil, fmt.Errorf("enter the network namespace of %s: %w", m.name, err)
	}
	// One address, hence no second goroutine: the socket is made here.
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, address)
}
