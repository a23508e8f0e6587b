package renew_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
)

const (
	alice = 4711
	bob   = 4712
)

// home makes /home/alice/.kube/config under a root, alice's.
func home(t *testing.T) (root, config string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("files of other users can only be made by root: run as root, as CI does")
	}
	root = t.TempDir()
	config = filepath.Join(root, "home/alice/.kube/config")
	must(t, os.MkdirAll(filepath.Dir(config), 0o755), os.WriteFile(config, []byte("old"), 0o600),
		os.MkdirAll(filepath.Join(root, "root"), 0o755), os.WriteFile(filepath.Join(root, "root/secret"), []byte("secret"), 0o600))
	for _, name := range []string{config, filepath.Dir(config), filepath.Dir(filepath.Dir(config))} {
		must(t, os.Chown(name, alice, alice))
	}
	return root, config
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

const name = "/home/alice/.kube/config"

// What somebody could have planted is refused, said, and nothing is written anywhere.
func TestPlaceIsRefused(t *testing.T) {
	for what, row := range map[string]struct {
		plant func(t *testing.T, root, config string)
		want  string
	}{
		"the file is a link": {func(t *testing.T, _, config string) {
			must(t, os.Remove(config), os.Symlink("/root/secret", config), os.Lchown(config, alice, alice))
		}, "could have planted"},
		"root's link in alice's directory": {func(t *testing.T, _, config string) {
			must(t, os.Remove(config), os.Symlink("/root/secret", config))
		}, "could have planted"},
		"a directory is a link": {func(t *testing.T, root, config string) {
			dir := filepath.Dir(config)
			must(t, os.Rename(dir, dir+".away"), os.Symlink(filepath.Join(root, "root"), dir))
		}, "could have planted"},
		"a hard link": {func(t *testing.T, root, config string) {
			must(t, os.Remove(config), os.Link(filepath.Join(root, "root/secret"), config))
		}, "2 names"},
		"a pipe": {func(t *testing.T, _, config string) {
			must(t, os.Remove(config), syscall.Mkfifo(config, 0o600))
		}, "no regular file"},
		"a directory":                     {func(t *testing.T, _, config string) { must(t, os.Remove(config), os.Mkdir(config, 0o755)) }, "no regular file"},
		"bob's file in alice's directory": {func(t *testing.T, _, config string) { must(t, os.Chown(config, bob, bob)) }, "user 4712's, in a directory of user 4711's"},
		"bob's directory in alice's": {func(t *testing.T, _, config string) {
			must(t, os.Chown(filepath.Dir(config), bob, bob), os.Chown(config, bob, bob))
		}, "in one of user 4711's"},
		"everybody may write": {func(t *testing.T, _, config string) { must(t, os.Chmod(filepath.Dir(config), 0o1777)) }, "everybody can write"},
		"a group may write": {func(t *testing.T, _, config string) {
			must(t, os.Chown(filepath.Dir(config), alice, bob), os.Chmod(filepath.Dir(config), 0o775))
		}, "group 4712 can write"},
		"missing":            {func(t *testing.T, _, config string) { must(t, os.Remove(config)) }, "no such file"},
		"kubectl is at work": {func(t *testing.T, _, config string) { must(t, os.WriteFile(config+".lock", nil, 0o600)) }, "kubectl is writing it"},
		"a loop of root's links": {func(t *testing.T, root, _ string) {
			must(t, os.Rename(filepath.Join(root, "home"), filepath.Join(root, "away")), os.Symlink("/home", filepath.Join(root, "home")))
		}, "loop of symbolic links"},
	} {
		t.Run(what, func(t *testing.T) {
			root, config := home(t)
			row.plant(t, root, config)
			err := renew.ReplaceAt(root, name, []byte("new"), nil)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %s", err, row.want)
			}
			nothingWritten(t, root)
		})
	}
}

// nothingWritten looks at every file under a root.
func nothingWritten(t *testing.T, root string) {
	t.Helper()
	must(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if content, err := os.ReadFile(path); err != nil || string(content) == "new" || strings.Contains(path, "kubecertd-") {
			t.Errorf("%s: %q %v", path, content, err)
		}
		return nil
	}))
}

// What changes after the file was read is noticed: neither is another's change lost, nor
// is anything written where somebody else wants it.
func TestPlaceChangesMeanwhile(t *testing.T) {
	for what, row := range map[string]struct {
		meanwhile func(t *testing.T, root, config string)
		written   string // where "new" is then; empty is nowhere
	}{
		"nothing": {func(*testing.T, string, string) {}, "home/alice/.kube/config"},
		"the file is written": {func(t *testing.T, _, config string) {
			time.Sleep(20 * time.Millisecond)
			must(t, os.WriteFile(config, []byte("alice"), 0o600))
		}, ""},
		"the file is replaced by a link": {func(t *testing.T, _, config string) {
			must(t, os.Remove(config), os.Symlink("/root/secret", config))
		}, ""},
		"the file is removed": {func(t *testing.T, _, config string) { must(t, os.Remove(config)) }, ""},
		"its directory is replaced by a link": {func(t *testing.T, root, config string) {
			dir := filepath.Dir(config)
			must(t, os.Rename(dir, dir+".away"), os.Symlink(filepath.Join(root, "root"), dir), os.WriteFile(filepath.Join(root, "root/config"), []byte("root's"), 0o600))
		}, "home/alice/.kube.away/config"},
	} {
		t.Run(what, func(t *testing.T) {
			root, config := home(t)
			err := renew.ReplaceAt(root, name, []byte("new"), func() { row.meanwhile(t, root, config) })
			if row.written == "" {
				if err == nil {
					t.Error("it was replaced")
				}
				nothingWritten(t, root)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			written := filepath.Join(root, row.written)
			if got := file(t, written); got != "new" {
				t.Errorf("%s holds %q", row.written, got)
			}
			info, err := os.Stat(written)
			must(t, err)
			if owner := info.Sys().(*syscall.Stat_t); owner.Uid != alice || owner.Gid != alice || info.Mode() != 0o600 {
				t.Errorf("it is %d's, %s", owner.Uid, info.Mode())
			}
		})
	}
}

// root's own link is followed, and stays; what was left by one that was cut off goes.
func TestPlaceBehindRootsLink(t *testing.T) {
	root, config := home(t)
	target := filepath.Join(root, "root/kubeconfig")
	must(t, os.WriteFile(target, []byte("old"), 0o600), os.Symlink("../root/kubeconfig", filepath.Join(root, "home/link")),
		os.WriteFile(filepath.Join(root, "root/.kubeconfig.kubecertd-0011"), []byte("a key"), 0o600))
	must(t, renew.ReplaceAt(root, "/home/link", []byte("new"), nil))
	if file(t, target) != "new" || file(t, config) != "old" {
		t.Error("what the link points at was not replaced")
	}
	if to, err := os.Readlink(filepath.Join(root, "home/link")); err != nil || to != "../root/kubeconfig" {
		t.Errorf("the link is %q: %v", to, err)
	}
	if left, _ := filepath.Glob(filepath.Join(root, "root/.*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
