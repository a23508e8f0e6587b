//go:build linux

package controlplane

import (
	"context"
	"fmt"
	"strings"

	"github.com/kubecertd/kubecertd/test/lab/machine"
)

// Node is one control-plane node: a machine and what kubeadm put on it.
type Node struct {
	*machine.Machine
}

// firstBoot is stricter than Boot: nothing but the lab's own units is there.
func (n *Node) firstBoot(ctx context.Context) error {
	if err := n.Boot(ctx); err != nil {
		return err
	}
	failed, err := n.Run(ctx, "systemctl", "list-units", "--state=failed", "--plain", "--no-legend")
	if err != nil {
		return err
	}
	if units := strings.TrimSpace(failed.Stdout); units != "" {
		return fmt.Errorf("boot %s: failed units: %s", n.Name(), units)
	}
	return nil
}
