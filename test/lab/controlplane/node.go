//go:build linux

package controlplane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

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

// InstallPackage installs a .deb of the host with dpkg, which needs no
// repository: its dependencies must be there.
func (n *Node) InstallPackage(ctx context.Context, debPath string) error {
	path := "/root/" + filepath.Base(debPath)
	if err := n.Copy(debPath, path, 0o644); err != nil {
		return err
	}
	_, err := n.Run(ctx, "env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--install", path)
	return err
}

// Kubeconfig writes the node's admin.conf to a file of the host, with this
// node's address for a server, and returns its path. It is made anew at each
// call, since renewal changes what is in it.
func (c *Cluster) Kubeconfig(n *Node) (string, error) {
	data, err := n.ReadFile("/etc/kubernetes/admin.conf")
	if err != nil {
		return "", err
	}
	local, err := withServer(data, "https://"+n.Address()+":6443")
	if err != nil {
		return "", fmt.Errorf("read admin.conf of %s: %w", n.Name(), err)
	}
	path := filepath.Join(c.lab.Dir(), n.Name()+"-admin.conf")
	if err := os.WriteFile(path, local, 0o600); err != nil {
		return "", fmt.Errorf("write a kubeconfig: %w", err)
	}
	return path, nil
}

// withServer sets the server of every cluster of a kubeconfig.
func withServer(kubeconfig []byte, server string) ([]byte, error) {
	var config map[string]any
	if err := yaml.Unmarshal(kubeconfig, &config); err != nil {
		return nil, err
	}
	clusters, _ := config["clusters"].([]any)
	for _, entry := range clusters {
		named, _ := entry.(map[string]any)
		cluster, ok := named["cluster"].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("a cluster of it has no cluster section")
		}
		cluster["server"] = server
	}
	if len(clusters) == 0 {
		return nil, fmt.Errorf("it has no clusters")
	}
	return yaml.Marshal(config)
}
