//go:build linux

package parts

import (
	"context"
	"path/filepath"
)

// set names the parts of a version, all of which are in the cache.
func (c *Cache) set(ctx context.Context, version string) (*Set, error) {
	byName := c.imageParts(version)
	kubeadm := filepath.Join(c.path(byName["kubeadm"]), "usr/bin/kubeadm")
	names, err := imageNames(ctx, kubeadm, version)
	if err != nil {
		return nil, err
	}
	layers := []string{c.path(c.containerd())}
	for _, b := range kubernetesBinaries {
		if b.place == "usr/bin" {
			layers = append(layers, c.path(c.kubernetes(version, b)))
		}
	}
	return &Set{
		Kubernetes: version,
		Layers:     append(layers, c.path(debian())),
		Store:      c.path(c.store(version)),
		Pause:      names["pause"],
		Kubeadm:    kubeadm,
	}, nil
}
