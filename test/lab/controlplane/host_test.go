//go:build linux

package controlplane_test

import (
	"strings"
	"testing"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

func TestMissingSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	got := strings.Join(controlplane.Missing(), "\n")
	for _, want := range []string{
		"systemd-nspawn is missing: apt-get install systemd-container",
		"mmdebstrap is missing: apt-get install mmdebstrap",
		"nsenter is missing: apt-get install util-linux",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not said in:\n%s", want, got)
		}
	}
}
