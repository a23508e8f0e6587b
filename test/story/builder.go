//go:build linux

package story

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
)

// The versions that the stories install: the second is for the upgrade.
const (
	Version      = "0.0.1"
	LaterVersion = "0.0.2"
)

// Builder makes the package from the working tree, as `make package` does. Tests of a
// package share one.
type Builder struct {
	// Tags are those that the program is built with.
	Tags string

	dir  string
	made map[string]string // by version
}

// Deb makes a version of the package, once.
func (b *Builder) Deb(t *testing.T, version string) string {
	t.Helper()
	if made := b.made[version]; made != "" {
		return made
	}
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "kubecertd-story-")
		if err != nil {
			t.Fatal(err)
		}
		b.dir, b.made = dir, map[string]string{}
	}
	made, err := b.make(t.Context(), filepath.Join(b.dir, version), version)
	if err != nil {
		t.Fatalf("make the package: %v", err)
	}
	b.made[version] = made
	return made
}

// Remove removes what was made.
func (b *Builder) Remove() error { return os.RemoveAll(b.dir) }

// make builds in a folder that shows the repository, except for bin and dist, which
// belong to whoever works there. Tests run two folders below the repository.
func (b *Builder) make(ctx context.Context, dir, version string) (string, error) {
	repository, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(repository)
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for _, e := range entries {
		if name := e.Name(); name != "bin" && name != "dist" && name != ".git" {
			if err := os.Symlink(filepath.Join(repository, name), filepath.Join(dir, name)); err != nil {
				return "", err
			}
		}
	}
	arch := goruntime.GOARCH
	environment := append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "VERSION="+version, "ARCH="+arch, "SOURCE_DATE_EPOCH=1700000000")
	run := func(in string, argv ...string) (string, error) {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir, cmd.Env = in, environment
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("%s: %w: %s%s", strings.Join(argv, " "), err, stderr.String(), out)
		}
		return strings.TrimSpace(string(out)), nil
	}
	binary := filepath.Join(dir, "bin", "linux_"+arch, "kubecertd")
	if _, err := run(repository, "go", "build", "-trimpath", "-tags", b.Tags, "-ldflags", "-s -w -X main.version="+version+" -X main.built=1700000000", "-o", binary, "./cmd/kubecertd"); err != nil {
		return "", err
	}
	if _, err := run(repository, "go", "run", "-tags", "docs", "./cmd/kubecertd", "docs", filepath.Join(dir, "bin", "docs")); err != nil {
		return "", err
	}
	// It is built for the tools' own module, and run where the package's files lie.
	nfpm, err := run(repository, "go", "tool", "-n", "-modfile=tools/go.mod", "nfpm")
	if err != nil {
		return "", err
	}
	target := filepath.Join(dir, "kubecertd_"+version+".deb")
	_, err = run(dir, nfpm, "package", "--packager", "deb", "--target", target)
	return target, err
}

// Install installs a version of the package with dpkg.
func (n *Node) Install(t *testing.T, version string) {
	t.Helper()
	if err := n.InstallPackage(t.Context(), n.builder.Deb(t, version)); err != nil {
		t.Fatal(err)
	}
}

// Override changes settings of the unit's [Service] for one story.
func (n *Node) Override(t *testing.T, settings ...string) {
	t.Helper()
	n.MustRun(t, "mkdir", "-p", DropIn)
	n.Write(t, DropIn+"/story.conf", "[Service]\n"+strings.Join(settings, "\n")+"\n", 0o644)
	n.MustRun(t, "systemctl", "daemon-reload")
}
