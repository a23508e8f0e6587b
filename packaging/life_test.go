package packaging_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	configuration = "etc/kubecertd/kubecertd.yaml"
	edited        = "renew:\n  before: 10d\n"
	state         = "var/lib/kubecertd/runs/1.jsonl"
)

// dpkg installs into a directory, and runs the scripts without chroot.
func (h *fakeHost) dpkg(args ...string) {
	h.t.Helper()
	admin := mkdir(filepath.Join(h.root, "var/lib/dpkg"))
	for _, name := range []string{"status", "available"} {
		if !h.has("var/lib/dpkg/" + name) {
			h.write(filepath.Join(admin, name), "", 0o644)
		}
	}
	mkdir(filepath.Join(admin, "info"))
	mkdir(filepath.Join(admin, "updates"))
	// confold is what an administrator without a terminal gets.
	run(h.t, append(h.env, "DEBIAN_FRONTEND=noninteractive"), "dpkg", append([]string{"--root=" + h.root, "--force-script-chrootless",
		"--force-confdef", "--force-confold"}, args...)...)
}

func needDpkg(t *testing.T) {
	t.Helper()
	need(t, "dpkg", "dpkg-deb")
	if os.Geteuid() != 0 {
		t.Skip("dpkg needs root to install, even into a directory")
	}
}

func TestDebEdited(t *testing.T) {
	needDpkg(t)
	h := newFakeHost(t, fakeState{systemd: true, active: true})

	h.dpkg("--install", built(t, "deb", oldVersion, host))
	if diff := cmp.Diff([]string{update, reload}, h.calls()); diff != "" {
		t.Errorf("the first installation (-want +got)\n%s", diff)
	}
	shipped := read(t, "../configs/kubecertd.yaml")
	if diff := cmp.Diff(shipped, h.content(configuration)); diff != "" {
		t.Errorf("installed configuration (-shipped +installed)\n%s", diff)
	}
	if out := run(t, nil, filepath.Join(h.root, "usr/bin/kubecertd"), "version"); !strings.HasPrefix(out, "kubecertd "+oldVersion+" ") {
		t.Errorf("the installed program says %q", out)
	}

	h.write(filepath.Join(h.root, configuration), edited, 0o644)
	h.write(filepath.Join(h.root, state), "{}\n", 0o600)
	h.dpkg("--install", built(t, "deb", newVersion, host))
	if diff := cmp.Diff([]string{update, reload, active, check, restart}, h.calls()); diff != "" {
		t.Errorf("the upgrade (-want +got)\n%s", diff)
	}
	if got := h.content(configuration); got != edited {
		t.Errorf("the upgrade changed an edited configuration to:\n%s", got)
	}
	if got := h.content(configuration + ".dpkg-dist"); got != shipped+newComment {
		t.Errorf("the new configuration is not beside the edited one:\n%s", got)
	}

	h.dpkg("--remove", "kubecertd")
	if diff := cmp.Diff([]string{stop, disable, update, reload}, h.calls()); diff != "" {
		t.Errorf("the removal (-want +got)\n%s", diff)
	}
	for _, path := range []string{"usr/bin/kubecertd", "usr/lib/systemd/system/kubecertd.service", "usr/share/doc/kubecertd"} {
		if h.has(path) {
			t.Errorf("the removal left /%s", path)
		}
	}
	if h.content(configuration) != edited || !h.has(state) {
		t.Error("the removal took the edited configuration or the state")
	}

	h.dpkg("--install", built(t, "deb", newVersion, host))
	if got := h.content(configuration); got != edited {
		t.Errorf("the second installation changed an edited configuration to:\n%s", got)
	}
	h.dpkg("--purge", "kubecertd")
	for _, path := range []string{"etc/kubecertd", "var/lib/kubecertd", "usr/bin/kubecertd"} {
		if h.has(path) {
			t.Errorf("the purge left /%s", path)
		}
	}
}

func TestDebUnedited(t *testing.T) {
	needDpkg(t)
	h := newFakeHost(t, fakeState{})
	h.dpkg("--install", built(t, "deb", oldVersion, host))
	h.dpkg("--install", built(t, "deb", newVersion, host))
	if got, want := h.content(configuration), read(t, "../configs/kubecertd.yaml")+newComment; got != want {
		t.Errorf("the upgrade kept an old configuration that nobody had edited:\n%s", got)
	}
	if diff := cmp.Diff([]string{update, update}, h.calls()); diff != "" {
		t.Errorf("calls without systemd (-want +got)\n%s", diff)
	}
	// The administrator's own files are nobody else's to remove.
	h.write(filepath.Join(h.root, "etc/kubecertd/mine.yaml"), edited, 0o644)
	h.dpkg("--purge", "kubecertd")
	if h.has(configuration) || !h.has("etc/kubecertd/mine.yaml") {
		t.Error("the purge left our configuration, or took a file of the administrator's")
	}
	if diff := cmp.Diff([]string{disable, update}, h.calls()); diff != "" {
		t.Errorf("the purge (-want +got)\n%s", diff)
	}
}

// rpm runs scripts in a chroot, for which this directory has no shell; TestScripts
// calls them as rpm does.
func TestRpmLife(t *testing.T) {
	need(t, "rpm")
	if os.Geteuid() != 0 {
		t.Skip("rpm needs root to install, even into a directory")
	}
	h := newFakeHost(t, fakeState{})
	rpm := func(args ...string) {
		t.Helper()
		run(t, nil, "rpm", append([]string{"--root", h.root, "--noscripts", "--nodeps", "--nosignature", "--force-debian"}, args...)...)
	}
	rpm("-i", built(t, "rpm", oldVersion, host))
	if h.content(configuration) != read(t, "../configs/kubecertd.yaml") || !h.has("usr/bin/kubecertd") {
		t.Error("the installation is incomplete")
	}
	h.write(filepath.Join(h.root, configuration), edited, 0o644)
	rpm("-U", built(t, "rpm", newVersion, host))
	if got := h.content(configuration); got != edited {
		t.Errorf("the upgrade changed an edited configuration to:\n%s", got)
	}
	if !strings.HasSuffix(h.content(configuration+".rpmnew"), newComment) {
		t.Error("the new configuration is not beside the edited one")
	}
	rpm("-e", "kubecertd")
	if h.has("usr/bin/kubecertd") || h.has("usr/lib/systemd/system/kubecertd.service") {
		t.Error("the removal left files")
	}
	if got := h.content(configuration + ".rpmsave"); got != edited {
		t.Errorf("the removal did not keep the edited configuration: %q", got)
	}
}
