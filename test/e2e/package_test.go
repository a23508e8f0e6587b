//go:build linux

package e2e_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
	"github.com/kubecertd/kubecertd/test/story"
)

// An upgrade keeps the edited configuration and replaces the running daemon; a removal
// stops it and keeps what the administrator may want back; a purge leaves nothing.
func TestPackageLife(t *testing.T) {
	n := onNode(t)
	t.Cleanup(func() { n.reinstall(t) })
	n.Configure(t, "check: {interval: 7m}\n")
	edited := n.Read(t, story.ConfigFile)
	n.MustRun(t, "systemctl", "enable", "--now", "kubecertd")
	before := n.Unit(t, "kubecertd")

	t.Run("the same version again", func(t *testing.T) {
		n.Install(t, story.Version)
		replaced(t, n, before, story.Version, edited)
	})
	before = n.Unit(t, "kubecertd")
	t.Run("a later version", func(t *testing.T) {
		n.Install(t, story.LaterVersion)
		replaced(t, n, before, story.LaterVersion, edited)
	})
	t.Run("removed", func(t *testing.T) {
		n.MustRun(t, "dpkg", "--remove", "kubecertd")
		if u := n.Unit(t, "kubecertd"); u["ActiveState"] != "inactive" || u["LoadState"] != "not-found" {
			t.Errorf("the unit is %v", u)
		}
		n.gone(t, "/usr/bin/kubecertd", "/etc/systemd/system/multi-user.target.wants/kubecertd.service")
		if pids, err := n.Pids("kubecertd"); err != nil || len(pids) > 0 {
			t.Errorf("processes %v are left (%v)", pids, err)
		}
		if got := n.Read(t, story.ConfigFile); got != edited {
			t.Errorf("the configuration is now:\n%s", got)
		}
		n.Read(t, story.StateDir+"/cluster-configuration.yaml")
	})
	t.Run("purged", func(t *testing.T) {
		n.MustRun(t, "dpkg", "--purge", "kubecertd")
		n.gone(t, "/etc/kubecertd", story.StateDir)
		if out := n.MustRun(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", "kubecertd*"); strings.TrimSpace(out) != "" {
			t.Errorf("systemd still knows:\n%s", out)
		}
	})
}

// replaced says that the package replaced a running daemon.
func replaced(t *testing.T, n *node, before story.Unit, version, configuration string) {
	t.Helper()
	after := n.Unit(t, "kubecertd")
	if after["ActiveState"] != "active" || after["InvocationID"] == before["InvocationID"] || after["MainPID"] == before["MainPID"] {
		t.Errorf("the unit was %v and is %v: want another invocation of it", before, after)
	}
	if exe := n.MustRun(t, "readlink", "/proc/"+after["MainPID"]+"/exe"); strings.TrimSpace(exe) != "/usr/bin/kubecertd" {
		t.Errorf("the daemon runs %s", exe)
	}
	if err := story.Contains(n.MustRun(t, "kubecertd", "version"), version); err != nil {
		t.Error(err)
	}
	if got := n.Read(t, story.ConfigFile); got != configuration {
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
	if err := (&controlplane.Node{Machine: n.Machine}).InstallPackage(ctx, builder.Deb(t, story.Version)); err != nil {
		t.Error(err)
	}
}
