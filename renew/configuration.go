package renew

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.uber.org/zap"
	"sigs.k8s.io/yaml"
)

// configurationFile is the cluster's own ClusterConfiguration, remembered while
// the API server could be asked for it.
const configurationFile = "cluster-configuration.yaml"

// Remember asks the cluster for kubeadm's ClusterConfiguration and keeps it on
// disk, so that a renewal needs no API server. Nothing is lost when the cluster
// does not answer: what was remembered stays.
func (n *Node) Remember(ctx context.Context) error {
	fetched, err := n.Cluster.Configuration(ctx)
	if err != nil {
		return fmt.Errorf("cluster configuration: %w", err)
	}
	layout, _ := n.Locate()
	content, err := pinned(fetched, layout.CertificatesDir)
	if err != nil {
		return fmt.Errorf("cluster configuration (kube-system/kubeadm-config): %w", err)
	}
	if old, err := os.ReadFile(n.State.path(configurationFile)); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := n.State.write(configurationFile, content); err != nil {
		return fmt.Errorf("cluster configuration could not be remembered: %w", err)
	}
	n.Log.Info("cluster configuration remembered", event(EventConfiguration),
		zap.String("path", n.State.path(configurationFile)))
	return nil
}

// pinned is the configuration with this node's own certificate directory: the
// node's manifests are the truth about where its certificates lie.
func pinned(content []byte, certificatesDir string) ([]byte, error) {
	var configuration map[string]any
	if err := yaml.Unmarshal(content, &configuration); err != nil {
		return nil, err
	}
	if kind := configuration["kind"]; kind != "ClusterConfiguration" {
		return nil, fmt.Errorf("holds kind %v, not ClusterConfiguration", kind)
	}
	if version, _ := configuration["kubernetesVersion"].(string); version == "" {
		return nil, errors.New("has no kubernetesVersion, which kubeadm would look up on the internet")
	}
	if certificatesDir != "" {
		configuration["certificatesDir"] = certificatesDir
	}
	return yaml.Marshal(configuration)
}

// configuration is the file that kubeadm is given.
func (n *Node) configuration() (path string, err error) {
	path = n.State.path(configurationFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("the cluster configuration is not known: it was never read from the API server")
	}
	if err != nil {
		return "", fmt.Errorf("the remembered cluster configuration cannot be read: %w", err)
	}
	if _, err := pinned(content, ""); err != nil {
		return "", fmt.Errorf("the remembered cluster configuration %s is damaged: %w", path, err)
	}
	return path, nil
}
