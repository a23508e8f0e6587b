//go:build linux

package faults_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/disk"
	"github.com/kubecertd/kubecertd/test/story"
)

// soak runs every row, and not only one or two of each kind.
var soak = os.Getenv("KUBECERTD_SOAK") != ""

// builder makes packages whose program can be cut off at each line of its record.
var builder = &story.Builder{Tags: "grpcnotrace,failpoints"}

func TestMain(m *testing.M) {
	os.Exit(story.Main(m, builder, unplug))
}

// lab is the one node of all rows, once it is up.
var lab struct {
	*node
	golden   string // /etc/kubernetes as kubeadm made it
	versions string // of what the node runs
}

// node is the node in the hands of one row.
type node struct {
	*story.Node
	// kubernetes and state are the disks under /etc/kubernetes and under the state
	// directory, which lose what was not synced when the power is cut.
	kubernetes, state *disk.Disk
}

const (
	kubernetesDir = "/etc/kubernetes"
	// dir is for what a row puts on the node.
	dir = "/opt/faults"
)

// onNode gives the node of all rows, with two disks of its own.
func onNode(t *testing.T) *node {
	t.Helper()
	if lab.node != nil {
		return lab.node
	}
	cluster := story.Lab(t, "faults", 1)
	cp := cluster.Nodes[0]
	n := &node{Node: &story.Node{Node: cp}}
	if err := cp.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	lab.golden = filepath.Join(filepath.Dir(cp.Root()), "golden")
	must(t, copyTree(filepath.Join(cp.Root(), kubernetesDir), lab.golden))
	n.kubernetes = plugIn(t, filepath.Join(cp.Root(), kubernetesDir))
	must(t, copyTree(lab.golden, n.kubernetes.Dir))
	must(t, os.MkdirAll(filepath.Join(cp.Root(), story.StateDir), 0o700))
	n.state = plugIn(t, filepath.Join(cp.Root(), story.StateDir))
	lab.node = n
	must(t, cp.Boot(t.Context()))
	n.installStrace(t)
	lab.versions = "Kubernetes " + cluster.Kubernetes() + ", " + strings.Join(strings.Fields(n.MustRun(t, "containerd", "--version"))[1:3], " ")
	return n
}

func plugIn(t *testing.T, dir string) *disk.Disk {
	t.Helper()
	d, err := disk.Mount(dir)
	if errors.Is(err, disk.ErrUnsupported) {
		t.Skip(err)
	}
	must(t, err)
	return d
}

// unplug takes the disks away, before the lab goes.
func unplug() error {
	if lab.node == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(lab.PowerCut(ctx), lab.kubernetes.Close(), lab.state.Close())
}

// copyTree copies a folder with owners, modes and times.
func copyTree(from, to string) error {
	if out, err := exec.Command("cp", "--archive", "--no-target-directory", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s to %s: %w: %s", from, to, err, out)
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
