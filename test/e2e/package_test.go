//go:build linux

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

// The versions that the stories install: the second is for the upgrade.
const (
	version      = "0.0.1"
	laterVersion = "0.0.2"
)

// packages are the .deb files that were made, by version, in a folder of their own.
var packages struct {
	dir  string
	made map[string]string
}

// deb makes the package from the working tree, as `make package` does, once for each
// version.
func deb(t *testing.T, version string) string {
	t.Helper()
	if made := packages.made[version]; made != "" {
		return made
	}
	if packages.dir == "" {
		dir, err := os.MkdirTemp("", "kubecertd-e2e-")
		if err != nil {
			t.Fatal(err)
		}
		packages.dir, packages.made = dir, map[string]string{}
	}
	made, err := makeDeb(t.Context(), filepath.Join(packages.dir, version), version)
	if err != nil {
		t.Fatalf("make the package: %v", err)
	}
	packages.made[version] = made
	return made
}

// makeDeb builds in a folder that shows the repository, except for bin and dist, which
// belong to whoever works there.
func makeDeb(ctx context.Context, dir, version string) (string, error) {
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
	if _, err := run(repository, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", binary, "./cmd/kubecertd"); err != nil {
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

// install installs a version of the package with dpkg.
func (n *node) install(t *testing.T, version string) {
	t.Helper()
	if err := n.InstallPackage(t.Context(), deb(t, version)); err != nil {
		t.Fatal(err)
	}
}

// An upgrade keeps the edited configuration and replaces the running daemon; a removal
// stops it and keeps what the administrator may want back; a purge leaves nothing.
func TestPackageLife(t *testing.T) {
	n := onNode(t)
	t.Cleanup(func() { n.reinstall(t) })
	n.configure(t, "check: {interval: 7m}\n")
	edited := n.read(t, configFile)
	n.mustRun(t, "systemctl", "enable", "--now", "kubecertd")
	before := n.unit(t, "kubecertd")

	t.Run("the same version again", func(t *testing.T) {
		n.install(t, version)
		replaced(t, n, before, version, edited)
	})
	before = n.unit(t, "kubecertd")
	t.Run("a later version", func(t *testing.T) {
		n.install(t, laterVersion)
		replaced(t, n, before, laterVersion, edited)
	})
	t.Run("removed", func(t *testing.T) {
		n.mustRun(t, "dpkg", "--remove", "kubecertd")
		if u := n.unit(t, "kubecertd"); u["ActiveState"] != "inactive" || u["LoadState"] != "not-found" {
			t.Errorf("the unit is %v", u)
		}
		n.gone(t, "/usr/bin/kubecertd", "/etc/systemd/system/multi-user.target.wants/kubecertd.service")
		if pids, err := n.Pids("kubecertd"); err != nil || len(pids) > 0 {
			t.Errorf("processes %v are left (%v)", pids, err)
		}
		if got := n.read(t, configFile); got != edited {
			t.Errorf("the configuration is now:\n%s", got)
		}
		n.read(t, stateDir+"/cluster-configuration.yaml")
	})
	t.Run("purged", func(t *testing.T) {
		n.mustRun(t, "dpkg", "--purge", "kubecertd")
		n.gone(t, "/etc/kubecertd", stateDir)
		if out := n.mustRun(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", "kubecertd*"); strings.TrimSpace(out) != "" {
			t.Errorf("systemd still knows:\n%s", out)
		}
	})
}

// replaced says that the package replaced a running daemon.
func replaced(t *testing.T, n *node, before unit, version, configuration string) {
	t.Helper()
	after := n.unit(t, "kubecertd")
	if after["ActiveState"] != "active" || after["InvocationID"] == before["InvocationID"] || after["MainPID"] == before["MainPID"] {
		t.Errorf("the unit was %v and is %v: want another invocation of it", before, after)
	}
	if exe := n.mustRun(t, "readlink", "/proc/"+after["MainPID"]+"/exe"); strings.TrimSpace(exe) != "/usr/bin/kubecertd" {
		t.Errorf("the daemon runs %s", exe)
	}
	if err := contains(n.mustRun(t, "kubecertd", "version"), version); err != nil {
		t.Error(err)
	}
	if got := n.read(t, configFile); got != configuration {
		t.Errorf("the configuration is now:\n%s", got)
	}
}

// gone says that paths do not exist in the node.
func (n *node) gone(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if _, err := n.ReadFile(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left (%v)", path, err)
		}
	}
}

// reinstall puts the node's package back to the first version.
func (n *node) reinstall(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if _, err := n.Run(ctx, "dpkg", "--purge", "kubecertd"); err != nil {
		t.Error(err)
	}
	if err := (&controlplane.Node{Machine: n.Machine}).InstallPackage(ctx, deb(t, version)); err != nil {
		t.Error(err)
	}
}
