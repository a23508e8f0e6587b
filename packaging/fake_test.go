package packaging_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// host of a script: a directory in place of /, and programs that record how they
// are called in place of systemctl and kubecertd.
type fakeHost struct {
	t    *testing.T
	root string
	env  []string
}

// fakeState is how the host stands.
type fakeState struct {
	systemd bool // systemd is running
	active  bool // the daemon is running
	refuses bool // the new version does not accept the configuration
	fails   bool // systemctl and journalctl fail at all that changes something
}

func newFakeHost(t *testing.T, state fakeState) *fakeHost {
	t.Helper()
	bin := t.TempDir()
	h := &fakeHost{t: t, root: t.TempDir()}
	h.env = []string{"PATH=" + bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"CALLS=" + filepath.Join(bin, "calls"), "ROOT=" + h.root, "LC_ALL=C"}
	h.write(filepath.Join(bin, "systemctl"), `#!/bin/sh
echo "systemctl $*" | sed "s|$ROOT|ROOT|" >>"$CALLS"
case "$*" in
*is-active*) `+exit(!state.active)+` ;;
*) `+exit(state.fails)+` ;;
esac
`, 0o755)
	h.write(filepath.Join(bin, "journalctl"), `#!/bin/sh
echo "journalctl $*" | sed "s|$ROOT|ROOT|" >>"$CALLS"
`+exit(state.fails)+"\n", 0o755)
	says := "echo 'The configuration is good.'"
	if state.refuses {
		says = "echo 'renew.before: is neither a duration nor a share' >&2"
	}
	h.write(filepath.Join(bin, "kubecertd"), `#!/bin/sh
echo "kubecertd $*" >>"$CALLS"
`+says+"\n"+exit(state.refuses)+"\n", 0o755)
	if state.systemd {
		mkdir(filepath.Join(h.root, "run/systemd/system"))
	}
	return h
}

func exit(fail bool) string {
	if fail {
		return "exit 3"
	}
	return "exit 0"
}

// calls are the calls since the last time.
func (h *fakeHost) calls() []string {
	h.t.Helper()
	file := strings.TrimPrefix(h.env[1], "CALLS=")
	content, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		h.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(content)), "\n")
}

func (h *fakeHost) write(path, content string, mode os.FileMode) {
	h.t.Helper()
	mkdir(filepath.Dir(path))
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		h.t.Fatal(err)
	}
}

// content of a file below the root, or "" when it is not there.
func (h *fakeHost) content(path string) string {
	h.t.Helper()
	content, err := os.ReadFile(filepath.Join(h.root, path))
	if err != nil && !os.IsNotExist(err) {
		h.t.Fatal(err)
	}
	return string(content)
}

func (h *fakeHost) has(path string) bool {
	_, err := os.Lstat(filepath.Join(h.root, path))
	return err == nil
}
