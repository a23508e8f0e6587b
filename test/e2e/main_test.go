//go:build linux

package e2e_test

import (
	"os"
	"testing"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
	"github.com/kubecertd/kubecertd/test/story"
)

// builder makes the packages that are installed here.
var builder = &story.Builder{Tags: "grpcnotrace"}

func TestMain(m *testing.M) { os.Exit(story.Main(m, builder, shifted.Remove)) }

// onlySoaked skips what takes minutes and whose like is told by others; make soak has it.
func onlySoaked(t *testing.T) {
	t.Helper()
	if os.Getenv("KUBECERTD_SOAK") == "" {
		t.Skip("only with KUBECERTD_SOAK=1 (make soak)")
	}
}

// node is a node of a lab in the hands of one story.
type node struct{ *story.Node }

// onNode gives the node of the shared control plane for one story: healthy, with the
// package installed, the shipped configuration, the daemon stopped, and nothing to do.
func onNode(t *testing.T) *node {
	t.Helper()
	return prepare(t, story.Lab(t, "e2e", 1).Nodes[0])
}

func prepare(t *testing.T, on *controlplane.Node) *node {
	t.Helper()
	return &node{story.Prepare(t, on, builder)}
}
