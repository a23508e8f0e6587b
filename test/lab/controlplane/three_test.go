//go:build linux

package controlplane_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

func TestThreeNodes(t *testing.T) {
	requireLab(t)
	const name = "test-three"
	began := time.Now()
	cluster, err := controlplane.Up(t.Context(), controlplane.Options{Name: name, Nodes: 3, Progress: os.Stderr})
	t.Cleanup(func() {
		if err := controlplane.Down(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("up in %s", time.Since(began).Round(time.Second))

	first, err := cluster.Node("cp1")
	if err != nil {
		t.Fatal(err)
	}
	nodes := strings.Fields(run(t, first, "kubectl", "get", "nodes", "-o", "name"))
	slices.Sort(nodes)
	if diff := cmp.Diff([]string{"node/cp1", "node/cp2", "node/cp3"}, nodes); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	// Only the node of `kubeadm init` has super-admin.conf.
	for i, n := range cluster.Nodes {
		_, err := n.ReadFile("/etc/kubernetes/super-admin.conf")
		if (i == 0) != (err == nil) || i > 0 && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("super-admin.conf of %s: %v", n.Name(), err)
		}
	}

	// The others go on without the first, also by the common name.
	if err := first.PowerCut(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := cluster.Nodes[1]
	eventually(t, 30*time.Second, func() error {
		_, err := second.Run(t.Context(), "kubectl", "--request-timeout=10s", "get", "nodes")
		return err
	})
	if err := first.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cluster.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
}
