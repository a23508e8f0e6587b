//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kubecertd/kubecertd/test/lab/mounts"
)

// machineForm keeps the name of a link within the kernel's 15 characters.
var machineForm = regexp.MustCompile(`^[a-z][a-z0-9]{0,7}$`)

// Spec says what a machine is made of.
type Spec struct {
	// Name is its host name, of 8 letters and digits at most.
	Name string
	// Layers are the trees of its root file system, the uppermost first. They
	// are never written to and can be shared.
	Layers []string
	// Files are written over the layers before the first boot.
	Files []File
	// Volumes are folders of the machine that lie on the host's own file
	// system instead of an overlay, each with the tree that it starts with,
	// or none. Large files of that tree are shared by hard links: what uses
	// the volume may replace them and must not write into them.
	Volumes map[string]string
}

// File is a file or, with Link, a symbolic link of a machine.
type File struct {
	Path string // absolute, in the machine
	Text string
	Mode fs.FileMode // 0644 when zero
	Link string
}

// Machine is one machine of a lab. It keeps its disks and its network while
// it is off.
type Machine struct {
	lab   *Lab
	name  string
	index int
}

// Add makes a machine of the lab, switched off.
func (l *Lab) Add(spec Spec) (*Machine, error) {
	if !machineForm.MatchString(spec.Name) || slices.Contains(l.state.Machines, spec.Name) {
		return nil, fmt.Errorf("machine name %q: want a new one of at most 8 lower case letters and digits", spec.Name)
	}
	l.state.Machines = append(l.state.Machines, spec.Name)
	if err := l.save(); err != nil {
		return nil, err
	}
	m := l.machine(len(l.state.Machines) - 1)
	if err := m.make(spec); err != nil {
		return nil, fmt.Errorf("make machine %s: %w", m.name, err)
	}
	return m, nil
}

func (l *Lab) machine(index int) *Machine {
	return &Machine{lab: l, name: l.state.Machines[index], index: index}
}

// Name is the machine's host name.
func (m *Machine) Name() string { return m.name }

// Address is the machine's IPv4 address, reachable from the host and from the
// lab's other machines.
func (m *Machine) Address() string { return m.lab.Address(m.index) }

// Running says whether the machine is on.
func (m *Machine) Running() bool {
	_, err := m.leader()
	return err == nil
}

// Root is the folder of the host in which the machine's root file system is
// seen, volumes included, whether it runs or not. /run, /tmp, /dev, /proc and
// /sys are the machine's own and not seen there. Symbolic links with absolute
// targets lead out of it: ReadFile follows them as the machine does.
func (m *Machine) Root() string { return filepath.Join(m.dir(), "root") }

func (m *Machine) dir() string { return filepath.Join(m.lab.dir, m.name) }

func (m *Machine) make(spec Spec) error {
	for _, sub := range []string{"upper", "work", "root", "volumes"} {
		if err := os.MkdirAll(filepath.Join(m.dir(), sub), 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s",
		strings.Join(spec.Layers, ":"), m.upper(), filepath.Join(m.dir(), "work"))
	if err := unix.Mount("overlay", m.Root(), "overlay", 0, options); err != nil {
		return fmt.Errorf("mount its root file system: %w", err)
	}
	for place, source := range spec.Volumes {
		if err := m.addVolume(place, source); err != nil {
			return fmt.Errorf("make the volume %s: %w", place, err)
		}
	}
	for _, f := range spec.Files {
		if err := m.writeFile(f); err != nil {
			return err
		}
	}
	return m.plugIn()
}

func (m *Machine) upper() string { return filepath.Join(m.dir(), "upper") }

func (m *Machine) addVolume(place, source string) error {
	disk := filepath.Join(m.dir(), "volumes", strings.ReplaceAll(strings.Trim(place, "/"), "/", "-"))
	if err := os.MkdirAll(disk, 0o700); err != nil {
		return err
	}
	if source != "" {
		if err := cloneTree(source, disk); err != nil {
			return err
		}
	}
	target := filepath.Join(m.Root(), place)
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(disk, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount it: %w", err)
	}
	return nil
}

// writeFile writes into a root file system of which nothing runs yet.
func (m *Machine) writeFile(f File) error {
	path := filepath.Join(m.Root(), f.Path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	// The layers may have a symbolic link there, which must not be followed.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace %s: %w", f.Path, err)
	}
	if f.Link != "" {
		return os.Symlink(f.Link, path)
	}
	mode := f.Mode
	if mode == 0 {
		mode = 0o644
	}
	if err := os.WriteFile(path, []byte(f.Text), mode); err != nil {
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	return nil
}

// erase takes away all of the machine but its folder.
func (m *Machine) erase(ctx context.Context) error {
	if err := m.PowerCut(ctx); err != nil {
		return err
	}
	rootLock := m.rootLock()
	return errors.Join(
		removeLink(m.link()),
		mounts.Unmount(m.dir()),
		m.forgetNspawn(rootLock),
	)
}
