//go:build linux

// Package parts makes what a lab is put together from, once: Kubernetes, etcd
// and containerd built from their Go modules, a Debian root file system, and a
// containerd store that already holds the images of a control plane. No
// registry of container images is needed, and none is asked.
package parts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/filelock"
	"github.com/kubecertd/kubecertd/test/lab/mounts"
	"github.com/kubecertd/kubecertd/test/lab/progress"
)

// Environment variables that move the cache.
const (
	cacheVariable = "KUBECERTD_LAB_CACHE"
	cacheName     = "kubecertd-lab"
)

// Set is everything that a control plane of one Kubernetes version needs, each
// a directory in the cache that must not be written to.
type Set struct {
	// Kubernetes is the version with its leading v, such as v1.36.3.
	Kubernetes string
	// Layers are trees for an overlay mount, the uppermost first. The last is
	// Debian.
	Layers []string
	// Store is a containerd data directory with the images imported.
	Store string
	// Pause is the name of the image that sandboxes run.
	Pause string
	// Kubeadm is the host path of the kubeadm binary; it is static.
	Kubeadm string
}

// part is one directory of the cache and how to make it.
type part struct {
	name     string
	recipe   string        // everything that, when changed, asks for a new build
	expected time.Duration // on two cores with a cold cache
	build    func(ctx context.Context, dir string, log io.Writer) error
}

// key is the name of the part's directory: what it is, for a person, and a
// digest of how it is made, for the cache.
func (p part) key() string {
	sum := sha256.Sum256([]byte(p.recipe))
	return strings.ReplaceAll(p.name, " ", "-") + "-" + hex.EncodeToString(sum[:4])
}

// Cache is the folder in which parts are kept.
type Cache struct {
	dir string
}

// OpenCache returns the cache at dir. When dir is empty it is the one named by
// KUBECERTD_LAB_CACHE, else kubecertd-lab in the user's cache folder.
func OpenCache(dir string) (*Cache, error) {
	if dir == "" {
		dir = os.Getenv(cacheVariable)
	}
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find a folder for the lab's parts (set %s): %w", cacheVariable, err)
		}
		dir = filepath.Join(user, cacheName)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the lab's cache: %w", err)
	}
	return &Cache{dir: dir}, nil
}

// Dir is the absolute path of the cache.
func (c *Cache) Dir() string { return c.dir }

// Build returns the parts of a Kubernetes version, such as 1.36.3 or 1.35, and
// makes those that are not in the cache. The first time takes minutes. Only
// one process builds at a time; others wait for it, and find its parts.
func (c *Cache) Build(ctx context.Context, version string, out *progress.Printer) (*Set, error) {
	version, err := resolveVersion(version)
	if err != nil {
		return nil, err
	}
	plan := c.plan(version)
	if c.absent(plan) > 0 {
		if err := c.buildAll(ctx, plan, out); err != nil {
			return nil, err
		}
	}
	return c.set(ctx, version)
}

func (c *Cache) absent(plan []part) int {
	n := 0
	for _, p := range plan {
		if !c.has(p) {
			n++
		}
	}
	return n
}

func (c *Cache) has(p part) bool {
	_, err := os.Stat(c.path(p))
	return err == nil
}

func (c *Cache) path(p part) string { return filepath.Join(c.dir, p.key()) }

func (c *Cache) buildAll(ctx context.Context, plan []part, out *progress.Printer) error {
	release, err := filelock.Take(ctx, c.dir, func() {
		out.Printf("another process builds the lab's parts, waiting for it")
	})
	if err != nil {
		return fmt.Errorf("take the lab's cache: %w", err)
	}
	defer release()

	// Whatever is here belongs to a build that was killed: the lock is ours.
	if err := mounts.RemoveTree(c.scratch()); err != nil {
		return fmt.Errorf("clear what an earlier build left: %w", err)
	}
	n, of := 0, c.absent(plan)
	for _, p := range plan {
		if c.has(p) {
			continue
		}
		n++
		title := fmt.Sprintf("part %d of %d: %s", n, of, p.name)
		if err := out.Do(title, p.expected, func() error { return c.buildOne(ctx, p) }); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cache) scratch() string { return filepath.Join(c.dir, "scratch") }

// buildOne makes a part beside its place and renames it, so that a build
// killed half-way is not taken for a part.
func (c *Cache) buildOne(ctx context.Context, p part) error {
	dir := filepath.Join(c.scratch(), p.key())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("build %s: %w", p.name, err)
	}
	logs := filepath.Join(c.dir, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return fmt.Errorf("build %s: %w", p.name, err)
	}
	log, err := os.Create(filepath.Join(logs, p.key()+".log"))
	if err != nil {
		return fmt.Errorf("build %s: %w", p.name, err)
	}
	err = p.build(ctx, dir, log)
	if closeErr := log.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("build %s (all of its output is in %s): %w", p.name, log.Name(), err)
	}
	if err := os.Rename(dir, c.path(p)); err != nil {
		return fmt.Errorf("build %s: %w", p.name, err)
	}
	return nil
}
