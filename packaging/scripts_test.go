package packaging_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	update  = "journalctl --root=ROOT --update-catalog"
	reload  = "systemctl daemon-reload"
	active  = "systemctl --quiet is-active kubecertd.service"
	check   = "kubecertd config check"
	restart = "systemctl try-restart kubecertd.service"
	stop    = "systemctl stop kubecertd.service"
	disable = "systemctl --quiet --no-reload --root=ROOT disable kubecertd.service"
)

// Every way in which dpkg (debian-policy, chapter 6) and rpm call the scripts.
func TestScripts(t *testing.T) {
	running := fakeState{systemd: true, active: true}
	stopped := fakeState{systemd: true}
	for _, c := range []struct {
		name   string
		script string
		args   string
		state  fakeState
		calls  []string
		says   string
		fails  bool
	}{
		{name: "deb first", script: "postinst", args: "configure ", state: stopped, calls: []string{update, reload}},
		{name: "deb first without systemd", script: "postinst", args: "configure ", calls: []string{update}},
		{name: "deb upgrade", script: "postinst", args: "configure 1.0.0", state: running, calls: []string{update, reload, active, check, restart}},
		{name: "deb upgrade of a stopped one", script: "postinst", args: "configure 1.0.0", state: stopped, calls: []string{update, reload, active}},
		{name: "deb upgrade without systemd", script: "postinst", args: "configure 1.0.0", calls: []string{update}},
		{name: "deb aborted upgrade", script: "postinst", args: "abort-upgrade 1.1.0", state: running, calls: []string{update, reload, active, check, restart}},
		{name: "deb aborted removal", script: "postinst", args: "abort-remove", state: stopped, calls: []string{update, reload, active}},
		{name: "deb aborted deconfiguration", script: "postinst", args: "abort-deconfigure in-favour x 1 removing y 1", state: stopped, calls: []string{update, reload, active}},
		{name: "rpm first", script: "postinst", args: "1", state: stopped, calls: []string{update, reload}},
		{name: "rpm first without systemd", script: "postinst", args: "1", calls: []string{update}},
		{name: "rpm upgrade", script: "postinst", args: "2", state: running, calls: []string{update, reload, active, check, restart}},
		{name: "rpm upgrade of a stopped one", script: "postinst", args: "2", state: stopped, calls: []string{update, reload, active}},
		{name: "upgrade that refuses the configuration", script: "postinst", args: "configure 1.0.0",
			state: fakeState{systemd: true, active: true, refuses: true}, calls: []string{update, reload, active, check},
			says: "renew.before: is neither a duration nor a share\n" +
				"kubecertd: the new version does not accept the configuration, so the old one was left running.\n" +
				"kubecertd: correct it, then: systemctl restart kubecertd.service\n"},
		{name: "upgrade with a systemd that fails", script: "postinst", args: "2",
			state: fakeState{systemd: true, active: true, fails: true}, calls: []string{update, reload, active, check, restart},
			says: "kubecertd: journalctl --update-catalog failed; run it by hand\n" +
				"kubecertd: systemctl daemon-reload failed; run it by hand\n" +
				"kubecertd: the new version did not start; see: journalctl -u kubecertd.service\n"},
		{name: "unknown word", script: "postinst", args: "triggered x", state: running, fails: true, says: "postinst of kubecertd: unknown argument 'triggered'\n"},

		{name: "deb removal", script: "prerm", args: "remove", state: running, calls: []string{stop, disable}},
		{name: "deb removal without systemd", script: "prerm", args: "remove", calls: []string{disable}},
		{name: "deb removal with a systemd that fails", script: "prerm", args: "remove", state: fakeState{systemd: true, active: true, fails: true},
			calls: []string{stop, disable},
			says: "kubecertd: the daemon did not stop; see: systemctl status kubecertd.service\n" +
				"kubecertd: links to kubecertd.service may be left in /etc/systemd/system\n"},
		{name: "deb before an upgrade", script: "prerm", args: "upgrade 1.1.0", state: running},
		{name: "deb before a failed upgrade", script: "prerm", args: "failed-upgrade 1.0.0", state: running},
		{name: "deb deconfiguration", script: "prerm", args: "deconfigure in-favour x 1", state: running},
		{name: "rpm removal", script: "prerm", args: "0", state: running, calls: []string{stop, disable}},
		{name: "rpm removal without systemd", script: "prerm", args: "0", calls: []string{disable}},
		{name: "rpm before an upgrade", script: "prerm", args: "1", state: running},

		{name: "deb after removal", script: "postrm", args: "remove", state: stopped, calls: []string{update, reload}},
		{name: "deb after removal without systemd", script: "postrm", args: "remove", calls: []string{update}},
		{name: "deb purge", script: "postrm", args: "purge", state: stopped},
		{name: "deb after an upgrade", script: "postrm", args: "upgrade 1.1.0", state: running},
		{name: "deb after a failed upgrade", script: "postrm", args: "failed-upgrade 1.0.0", state: running},
		{name: "deb aborted installation", script: "postrm", args: "abort-install", state: stopped},
		{name: "deb aborted upgrade, before", script: "postrm", args: "abort-upgrade 1.0.0", state: running},
		{name: "deb replaced by others", script: "postrm", args: "disappear x 1", state: stopped},
		{name: "rpm after removal", script: "postrm", args: "0", state: stopped, calls: []string{update, reload}},
		{name: "rpm after an upgrade", script: "postrm", args: "1", state: running},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newFakeHost(t, c.state)
			h.write(filepath.Join(h.root, "var/lib/kubecertd/runs/1.jsonl"), "{}\n", 0o600)
			args := strings.Split(c.args, " ") // a trailing space is an empty argument, as dpkg passes it
			out, err := command(".", append(h.env, "DPKG_ROOT="+h.root), "./"+c.script+".sh", args...)
			if (err != nil) != c.fails {
				t.Errorf("ended with %v", err)
			}
			if diff := cmp.Diff(c.says, out); diff != "" {
				t.Errorf("says (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(c.calls, h.calls()); diff != "" {
				t.Errorf("calls (-want +got)\n%s", diff)
			}
			if purged := !h.has("var/lib/kubecertd"); purged != (c.args == "purge") {
				t.Errorf("state was removed: %v", purged)
			}
		})
	}
}

// A machine without systemctl is a container.
func TestRemovalWithoutSystemctl(t *testing.T) {
	h := newFakeHost(t, fakeState{})
	for _, script := range []string{"prerm.sh", "postrm.sh"} {
		path, err := filepath.Abs(script)
		if err != nil {
			t.Fatal(err)
		}
		env := []string{"PATH=" + filepath.Join(h.root, "nothing"), "DPKG_ROOT=" + h.root}
		if out, err := command(".", env, "/bin/sh", path, "remove"); err != nil || out != "" {
			t.Errorf("%s: %v, says %q", script, err, out)
		}
	}
}
