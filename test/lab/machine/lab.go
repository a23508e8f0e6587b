//go:build linux

// Package machine boots Linux machines with a systemd, a network and disks of
// their own on this machine, as systemd-nspawn containers, and takes them away
// again whole. It knows nothing of what they run.
package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"

	"github.com/kubecertd/kubecertd/test/lab/filelock"
	"github.com/kubecertd/kubecertd/test/lab/mounts"
)

const (
	stateVariable = "KUBECERTD_LAB_STATE"
	// defaultState lies on a real file system on nearly every machine:
	// containerd's overlays cannot lie on another overlay or on tmpfs.
	defaultState = "/var/lib/kubecertd-lab"
)

// nameForm keeps names fit for folders, cgroups and host names.
var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// Lab is a network of machines under one name. Everything that it makes on
// the host lies under one folder or carries its slot in its name, and that is
// recorded before it is made: so all of it can be found again by any process.
type Lab struct {
	name  string
	dir   string
	state state
}

// state is what is kept on disk of a lab.
type state struct {
	// Slot numbers the labs of a host; bridge and subnet follow from it.
	Slot int `json:"slot"`
	// Machines are in the order of their addresses.
	Machines []string `json:"machines"`
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.name }

// Dir is the lab's folder on the host. Files put there go when the lab goes.
func (l *Lab) Dir() string { return l.dir }

// ErrNoLab says that there is no lab of that name.
var ErrNoLab = errors.New("no such lab")

// Lock keeps other processes from making or removing the lab of that name
// until it is released. It waits for one that does, and calls waiting first.
func Lock(ctx context.Context, name string, waiting func()) (release func(), err error) {
	dir, err := labDir(name)
	if err != nil {
		return nil, err
	}
	release, err = filelock.Take(ctx, dir, waiting)
	if err != nil {
		return nil, fmt.Errorf("take the lab %s: %w", name, err)
	}
	return release, nil
}

// Create makes a lab with a bridge and no machines. What an earlier lab of
// the name left is removed first. The caller holds its lock.
func Create(ctx context.Context, name string) (*Lab, error) {
	if err := Remove(ctx, name); err != nil {
		return nil, fmt.Errorf("remove the earlier lab %s: %w", name, err)
	}
	dir, err := labDir(name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of lab %s: %w", name, err)
	}
	if err := checkFileSystem(dir); err != nil {
		return nil, err
	}
	l := &Lab{name: name, dir: dir}
	if err := l.takeSlot(ctx); err != nil {
		return nil, err
	}
	if err := l.makeBridge(); err != nil {
		return nil, err
	}
	return l, nil
}

// takeSlot gives the lab a number of its own and records it.
func (l *Lab) takeSlot(ctx context.Context) error {
	root := filepath.Dir(l.dir)
	release, err := filelock.Take(ctx, root, nil)
	if err != nil {
		return fmt.Errorf("take the folder of labs: %w", err)
	}
	defer release()
	if l.state.Slot, err = freeSlot(root); err != nil {
		return err
	}
	return l.save()
}

// Open returns a lab that an earlier process made, with its machines. The
// error is ErrNoLab when there is none.
func Open(name string) (*Lab, error) {
	dir, err := labDir(name)
	if err != nil {
		return nil, err
	}
	l := &Lab{name: name, dir: dir}
	data, err := os.ReadFile(l.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lab %s: %w", name, ErrNoLab)
	}
	if err != nil {
		return nil, fmt.Errorf("open lab %s: %w", name, err)
	}
	if err := json.Unmarshal(data, &l.state); err != nil {
		return nil, fmt.Errorf("read %s: %w", l.stateFile(), err)
	}
	return l, nil
}

// Names lists the labs of this host.
func Names() ([]string, error) {
	root, err := stateRoot()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(root, "*", "lab.json"))
	if err != nil {
		return nil, fmt.Errorf("list the labs in %s: %w", root, err)
	}
	var names []string
	for _, file := range files {
		names = append(names, filepath.Base(filepath.Dir(file)))
	}
	return names, nil
}

// Remove takes away the lab of that name with everything it made, whatever
// state it is in. It is no error when there is none. The caller holds its
// lock.
func Remove(ctx context.Context, name string) error {
	l, err := Open(name)
	switch {
	case errors.Is(err, ErrNoLab):
		// Killed before it had recorded itself: there is only a folder.
		l = &Lab{}
		if l.dir, err = labDir(name); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		if err := l.undo(ctx); err != nil {
			return fmt.Errorf("remove lab %s: %w", name, err)
		}
	}
	if err := mounts.RemoveTree(l.dir); err != nil {
		return fmt.Errorf("remove lab %s: %w", name, err)
	}
	// Stays when there are other labs.
	_ = os.Remove(filepath.Dir(l.dir))
	return nil
}

// undo takes away what the lab made outside of its folder.
func (l *Lab) undo(ctx context.Context) error {
	var problems []error
	for _, m := range l.Machines() {
		problems = append(problems, m.erase(ctx))
	}
	problems = append(problems, l.removeBridge(), removeCgroups(ctx, l.cgroup()), removeCgroupOfLabs())
	return errors.Join(problems...)
}

// Machines are the lab's machines, running or not, in the order in which they
// were added.
func (l *Lab) Machines() []*Machine {
	var machines []*Machine
	for i := range l.state.Machines {
		machines = append(machines, l.machine(i))
	}
	return machines
}

func (l *Lab) stateFile() string { return filepath.Join(l.dir, "lab.json") }

// save replaces the record in one step.
func (l *Lab) save() error {
	data, err := json.MarshalIndent(l.state, "", "  ")
	if err != nil {
		return fmt.Errorf("record lab %s: %w", l.name, err)
	}
	temp := l.stateFile() + ".new"
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return fmt.Errorf("record lab %s: %w", l.name, err)
	}
	if err := os.Rename(temp, l.stateFile()); err != nil {
		return fmt.Errorf("record lab %s: %w", l.name, err)
	}
	return nil
}

func stateRoot() (string, error) {
	root := os.Getenv(stateVariable)
	if root == "" {
		return defaultState, nil
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return "", fmt.Errorf("find the folder of labs (%s): %w", stateVariable, err)
	}
	// Mount tables and processes show the path without symbolic links.
	if resolved, err := filepath.EvalSymlinks(root); err == nil {
		return resolved, nil
	}
	return root, nil
}

func labDir(name string) (string, error) {
	if !nameForm.MatchString(name) {
		return "", fmt.Errorf("lab name %q: want lower case letters, digits and dashes, 31 at most", name)
	}
	root, err := stateRoot()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, name), nil
}

func checkFileSystem(root string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil {
		return fmt.Errorf("look at the file system of %s: %w", root, err)
	}
	if fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("%s is on an overlay file system, on which containers cannot run: set %s to a folder on a disk",
			root, stateVariable)
	}
	return nil
}
