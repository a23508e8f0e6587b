//go:build linux

package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// slots is how many labs a host has room for. Each has the subnet
// 10.99.SLOT.0/24, the host at .1 and machines from .11 on.
const (
	slots        = 200
	firstMachine = 11
)

// freeSlot finds a number that no lab has and whose link name and subnet
// nobody else on this host uses. Needs the lock of the folder of labs.
func freeSlot(root string) (int, error) {
	taken := map[int]bool{}
	files, err := filepath.Glob(filepath.Join(root, "*", "lab.json"))
	if err != nil {
		return 0, fmt.Errorf("list the labs in %s: %w", root, err)
	}
	for _, file := range files {
		var s state
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(data, &s)
		}
		if err != nil {
			return 0, fmt.Errorf("read the slot of another lab: %w", err)
		}
		taken[s.Slot] = true
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 0, fmt.Errorf("list the host's routes: %w", err)
	}
	for slot := 1; slot <= slots; slot++ {
		if !taken[slot] && !linkExists(bridgeName(slot)) && !routed(routes, hostAddress(slot)) {
			return slot, nil
		}
	}
	return 0, fmt.Errorf("all %d subnets for labs are in use: take a lab down first", slots)
}

// routed says whether a route more special than the default leads to ip.
func routed(routes []netlink.Route, ip net.IP) bool {
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if ones, _ := r.Dst.Mask.Size(); ones > 0 && r.Dst.Contains(ip) {
			return true
		}
	}
	return false
}

func linkExists(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}

func bridgeName(slot int) string { return "kcl" + strconv.Itoa(slot) }

func hostAddress(slot int) net.IP { return net.IPv4(10, 99, byte(slot), 1) }

func machineAddress(slot, index int) net.IP {
	return net.IPv4(10, 99, byte(slot), byte(firstMachine+index))
}

// Host is the host's own address on the lab's bridge.
func (l *Lab) Host() string { return hostAddress(l.state.Slot).String() }

// Address is the address that the machine added as the nth, from 0, has.
func (l *Lab) Address(n int) string { return machineAddress(l.state.Slot, n).String() }

func (l *Lab) bridge() string { return bridgeName(l.state.Slot) }

func subnet(ip net.IP) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(24, 32)}}
}

func (l *Lab) makeBridge() error {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: l.bridge()}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("make the bridge %s: %w", l.bridge(), err)
	}
	if err := netlink.AddrAdd(bridge, subnet(hostAddress(l.state.Slot))); err != nil {
		return fmt.Errorf("give the bridge %s its address: %w", l.bridge(), err)
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("set the bridge %s up: %w", l.bridge(), err)
	}
	return nil
}

func (l *Lab) removeBridge() error { return removeLink(l.bridge()) }

func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("remove the link %s: %w", name, err)
	}
	return nil
}

// link is the host's end of the machine's cable.
func (m *Machine) link() string { return m.lab.bridge() + "-" + m.name }

func (m *Machine) namespace() string { return filepath.Join(m.dir(), "netns") }

// plugIn makes the machine's network namespace, which outlives the machine's
// power, and its cable to the bridge.
func (m *Machine) plugIn() error {
	if err := makeNamespace(m.namespace()); err != nil {
		return err
	}
	ns, err := netns.GetFromPath(m.namespace())
	if err != nil {
		return fmt.Errorf("open the network namespace of %s: %w", m.name, err)
	}
	defer func() { _ = ns.Close() }()

	bridge, err := netlink.LinkByName(m.lab.bridge())
	if err != nil {
		return fmt.Errorf("find the bridge %s: %w", m.lab.bridge(), err)
	}
	cable := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: m.link(), MasterIndex: bridge.Attrs().Index, Flags: net.FlagUp},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(ns),
	}
	if err := netlink.LinkAdd(cable); err != nil {
		return fmt.Errorf("make the link %s: %w", m.link(), err)
	}
	inside, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("enter the network namespace of %s: %w", m.name, err)
	}
	defer inside.Close()
	if err := m.configure(inside); err != nil {
		return fmt.Errorf("configure the network of %s: %w", m.name, err)
	}
	return nil
}

func (m *Machine) configure(inside *netlink.Handle) error {
	for _, name := range []string{"lo", "eth0"} {
		link, err := inside.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if name == "eth0" {
			if err := inside.AddrAdd(link, subnet(machineAddress(m.lab.state.Slot, m.index))); err != nil {
				return fmt.Errorf("give %s its address: %w", name, err)
			}
		}
		if err := inside.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", name, err)
		}
	}
	// kubeadm takes its address from the default route. Nothing forwards
	// packets from here: they end at the host.
	if err := inside.RouteAdd(&netlink.Route{Gw: hostAddress(m.lab.state.Slot)}); err != nil {
		return fmt.Errorf("add the default route: %w", err)
	}
	return nil
}

// makeNamespace makes a network namespace that lives as long as it is mounted
// at path.
func makeNamespace(path string) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return fmt.Errorf("make the network namespace %s: %w", path, err)
	}
	made := make(chan error, 1)
	go func() {
		// Never unlocked: the thread, now in the new namespace, ends here.
		goruntime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- err
			return
		}
		made <- unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	}()
	if err := <-made; err != nil {
		return fmt.Errorf("make the network namespace %s: %w", path, err)
	}
	return nil
}
