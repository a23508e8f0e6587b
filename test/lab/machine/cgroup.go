//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupMount is where every Linux distribution mounts its cgroups.
const cgroupMount = "/sys/fs/cgroup"

// Each machine has a cgroup of its own in every hierarchy and sees it as the
// root: machines do not meet in /kubepods or /system.slice, and what they
// leave when their power is cut can be told from what others made.

// cgroupOfLabs holds the cgroups of all labs, and is there while one of them
// is.
const cgroupOfLabs = "kubecertd-lab"

func (l *Lab) cgroup() string { return filepath.Join(cgroupOfLabs, l.name) }

func (m *Machine) cgroup() string { return filepath.Join(m.lab.cgroup(), m.name) }

// CgroupV2 says whether this host has only cgroup v2: then systemd drives it.
func CgroupV2() (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupMount, &fs); err != nil {
		return false, fmt.Errorf("look at %s: %w", cgroupMount, err)
	}
	return fs.Type == unix.CGROUP2_SUPER_MAGIC, nil
}

// hierarchies are the mount points of this host's cgroup hierarchies.
func hierarchies() ([]string, error) {
	only2, err := CgroupV2()
	if err != nil {
		return nil, err
	}
	if only2 {
		return []string{cgroupMount}, nil
	}
	entries, err := os.ReadDir(cgroupMount)
	if err != nil {
		return nil, fmt.Errorf("list the cgroup hierarchies: %w", err)
	}
	var found []string
	for _, entry := range entries {
		path := filepath.Join(cgroupMount, entry.Name())
		// Links stand for hierarchies with two controllers.
		if entry.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "cgroup.procs")); err == nil {
				found = append(found, path)
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no cgroup hierarchy is mounted below %s", cgroupMount)
	}
	return found, nil
}

// makeCgroups makes the group in every hierarchy, empty, and returns its
// folders.
func makeCgroups(ctx context.Context, group string) ([]string, error) {
	if err := removeCgroups(ctx, group); err != nil {
		return nil, err
	}
	roots, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var made []string
	for _, root := range roots {
		err := makeCgroupPath(root, group)
		for range 3 {
			if !errors.Is(err, fs.ErrNotExist) {
				break
			}
			// The last other lab has just gone, and the folder of all with it.
			err = makeCgroupPath(root, group)
		}
		if err != nil {
			return nil, err
		}
		made = append(made, filepath.Join(root, group))
	}
	return made, nil
}

func makeCgroupPath(root, group string) error {
	dir := root
	for part := range strings.SplitSeq(group, "/") {
		if err := delegate(dir); err != nil {
			return err
		}
		dir = filepath.Join(dir, part)
		if err := makeCgroup(dir); err != nil {
			return fmt.Errorf("make the cgroup %s: %w", dir, err)
		}
	}
	return nil
}

// makeCgroup makes one group. A cpuset of v1 is born without processors and
// takes no process before it has some.
func makeCgroup(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		have, err := os.ReadFile(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) || strings.TrimSpace(string(have)) != "" {
			continue
		}
		inherited, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err != nil {
			continue // v2 inherits by itself
		}
		if err := os.WriteFile(filepath.Join(dir, file), inherited, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// delegate lets the groups of a v2 group have its controllers; v1 has no such
// switch.
func delegate(dir string) error {
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the controllers of %s: %w", dir, err)
	}
	on, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return fmt.Errorf("read the controllers of %s: %w", dir, err)
	}
	for _, c := range strings.Fields(string(controllers)) {
		if slices.Contains(strings.Fields(string(on)), c) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
			return fmt.Errorf("delegate the controller %s of %s: %w", c, dir, err)
		}
	}
	return nil
}

// removeCgroups removes the group and all below it from every hierarchy. The
// processes are dead, but the kernel may still be busy burying them.
func removeCgroups(ctx context.Context, group string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		var problems []error
		for _, root := range roots {
			problems = append(problems, removeCgroup(filepath.Join(root, group)))
		}
		err := errors.Join(problems...)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove the cgroup %s: %w", group, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// removeCgroupOfLabs removes the cgroup of all labs unless there is one.
func removeCgroupOfLabs() error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		err := os.Remove(filepath.Join(root, cgroupOfLabs))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			return fmt.Errorf("remove the cgroup of labs: %w", err)
		}
	}
	return nil
}

func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeCgroup(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
