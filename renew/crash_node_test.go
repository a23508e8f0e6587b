//go:build linux

package renew_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/lab/disk"
)

// crash is a node on a disk whose power can be cut.
type crash struct {
	disk *disk.Disk
	made *fakeNode // what is to be on the disk
	old  map[string]string
	new  map[string]string // what kubeadm renews, when it is renewed
}

func newCrash(t *testing.T) *crash {
	t.Helper()
	c := &crash{made: newFakeNode(t)}
	c.old, c.new = contents(t, c.made.files.Root), map[string]string{}
	for _, name := range renewable {
		maps.Copy(c.new, contents(t, filepath.Join(c.made.dir, "new", name)))
	}
	c.writeKubeadm(t)
	c = c.again(t)
	if err := errors.Join(copyTree(c.made.files.Root, filepath.Join(c.disk.Dir, "root")),
		os.Mkdir(filepath.Join(c.disk.Dir, "state"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := c.node(t, c.disk.Dir, true).Remember(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// again is the same node with another, empty disk.
func (c *crash) again(t *testing.T) *crash {
	t.Helper()
	twin := *c
	dir := filepath.Join(workspace(t), "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if twin.disk, err = disk.Mount(dir); errors.Is(err, disk.ErrUnsupported) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := twin.disk.Close(); err != nil {
			t.Error(err)
		}
	})
	return &twin
}

// workspace is a directory in memory, if there is one: thousands of states are
// written out, and each is synced often.
func workspace(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "kubecertd-crash-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// writeKubeadm writes a program that renews as kubeadm does: in place, the key before
// the certificate, and without a sync. It works on the node beside it.
func (c *crash) writeKubeadm(t *testing.T) {
	t.Helper()
	n := c.made
	body := "if [ \"$1\" = version ]; then echo v1.36.3; exit; fi\nroot=${0%/*}/disk/root\n" + // also for what is done instead
		"if [ -e " + n.dir + "/instead-$3 ]; then . " + n.dir + "/instead-$3; exit; fi\ncase $3 in\n"
	for _, name := range renewable {
		files := slices.Sorted(maps.Keys(contents(t, filepath.Join(n.dir, "new", name))))
		slices.Reverse(files) // x.key, x.crt
		body += name + ")\n"
		for _, file := range files {
			body += fmt.Sprintf("cp %s $root/%s\n", filepath.Join(n.dir, "new", name, file), file)
		}
		body += ";;\n"
	}
	n.Kubeadm.Path = script(t, 0o755, body+"esac")
}

// node is the node as it starts from a directory, which is called "disk"; after a
// reboot, or only with a new daemon.
func (c *crash) node(t *testing.T, dir string, rebooted bool) *fakeNode {
	t.Helper()
	files, inner, made := *c.made.files, *c.made.Node, c.made
	files.Root = filepath.Join(dir, "root")
	n := &fakeNode{Node: &inner, t: t, files: &files, dir: made.dir, pods: maps.Clone(made.pods), unit: made.unit,
		dead: map[string]bool{}, sick: map[string]bool{}, kubeletHealthy: made.kubeletHealthy}
	inner.Clocks = func() (renew.Clocks, error) {
		clocks, err := made.Clocks()
		clocks.Up += n.passed - made.passed
		return clocks, err
	}
	inner.Locate = func() (pki.Layout, []error) { return pki.Locate(pki.Options{Root: files.Root}) }
	inner.Containers, inner.Kubelet, inner.Health, inner.Etcd, inner.Cluster = pods{n}, unit{n}, n, n, n
	inner.State = renew.State{Dir: filepath.Join(dir, "state")}
	inner.Kubeadm.Path = filepath.Join(filepath.Dir(dir), "kubeadm")
	if err := os.Symlink(made.Kubeadm.Path, inner.Kubeadm.Path); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	if rebooted {
		for name, pod := range n.pods {
			pod.Started = time.Now()
			n.pods[name] = pod
		}
		n.unit.Started = time.Now()
	}
	return n
}

// heal makes kubeadm do what it should from now on.
func (n *fakeNode) heal() {
	n.t.Helper()
	armed, err := filepath.Glob(filepath.Join(n.dir, "instead-*"))
	for _, file := range armed {
		err = errors.Join(err, os.Remove(file))
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// contents are the regular files under a directory, by their path in it.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		found[name] = string(content)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

func keys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// copyTree copies files, links and times.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, inside)
		info, err := d.Info()
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Mkdir(target, info.Mode().Perm())
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			return errors.Join(err, os.Symlink(link, target))
		}
		content, err := os.ReadFile(path)
		return errors.Join(err, os.WriteFile(target, content, info.Mode().Perm()), os.Chtimes(target, info.ModTime(), info.ModTime()))
	})
}
