package renew_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// prepared is a file of a certificate as the fake kubeadm will write it.
func (n *fakeNode) preparedFile(name, file string) string {
	n.t.Helper()
	inside, err := filepath.Rel(n.files.Root, file)
	n.mustDo(err)
	return filepath.Join(n.dir, "new", name, inside)
}

// edit changes a file in place, without changing its time.
func (n *fakeNode) edit(file string, change func([]byte) []byte) {
	n.t.Helper()
	info, err := os.Stat(file)
	n.mustDo(err, os.WriteFile(file, change(n.read(file)), info.Mode()), os.Chtimes(file, info.ModTime(), info.ModTime()))
}

var caData = regexp.MustCompile(`(certificate-authority-data: )(\S+)`)

// kubeadm itself keeps owners and modes, and writes certificates for all to read; what a
// wrapper, or an umask, makes of them is put right, also of a kubeconfig that kubeadm
// wrote well.
func TestRunKeepsOwnersAndModes(t *testing.T) {
	t.Parallel()
	const etcd = 1234 // etcd's own user, say, so that it can run as that
	n := newFakeNode(t)
	type file struct {
		mode os.FileMode
		uid  int
	}
	files := map[string]file{
		n.files.Certificate("etcd-server"):    {0o640, etcd},
		n.files.Key("etcd-server"):            {0o400, etcd},
		n.files.Certificate("scheduler.conf"): {0o640, 0},
		n.files.Certificate("apiserver"):      {0o644, 0},
	}
	if os.Getuid() != 0 {
		t.Skip("only root can give a file away")
	}
	for name, f := range files {
		n.mustDo(os.Chown(name, f.uid, f.uid), os.Chmod(name, f.mode))
	}
	for name, shell := range map[string]string{
		// As one does that writes another file and renames it, and as one with its own mind.
		"etcd-server":    "rm $crt $key; cp -r $new/. $root/; chmod 600 $crt $key",
		"scheduler.conf": "cp -r $new/. $root/; chown 99:99 $crt; chmod 666 $crt",
		"apiserver":      "cp -r $new/. $root/; chgrp 77 $crt",
	} {
		n.instead(name, strings.NewReplacer("$crt", n.files.Certificate(name), "$key", n.files.Key(name),
			"$new", filepath.Join(n.dir, "new", name), "$root", n.files.Root).Replace(shell))
	}
	events := n.journal()
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		info, err := os.Stat(name)
		n.mustDo(err)
		owner := info.Sys().(*syscall.Stat_t)
		if info.Mode() != want.mode || int(owner.Uid) != want.uid || int(owner.Gid) != want.uid {
			t.Errorf("%s is %s of %d:%d, want %s of %d", name, info.Mode(), owner.Uid, owner.Gid, want.mode, want.uid)
		}
	}
	if said := len(events(renew.EventRepaired)); said != len(files) {
		t.Errorf("said %d times, want %d", said, len(files))
	}
}

// During a rotation of the CA a kubeconfig trusts two. kubeadm writes the first of ca.crt
// over them.
func TestRunKeepsTheBundleOfAKubeconfig(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	file := n.files.Certificate("scheduler.conf")
	// A server would be trusted by either.
	bundle := base64.StdEncoding.EncodeToString(append(n.read(n.files.Path("/etc/kubernetes/pki/ca.crt")), n.read(n.files.Path("/etc/kubernetes/pki/etcd/ca.crt"))...))
	n.edit(file, func(was []byte) []byte { return caData.ReplaceAll(was, []byte("${1}"+bundle)) })
	before, _ := n.Look(t.Context(), renew.Wish{}).Observation.Certificate("scheduler.conf")
	events := n.journal()
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	after, _ := n.Look(t.Context(), renew.Wish{}).Observation.Certificate("scheduler.conf")
	if after.SHA256 == before.SHA256 || !after.NotAfter.After(before.NotAfter) {
		t.Errorf("scheduler.conf was not renewed: it ends %s", after.NotAfter)
	}
	if got := caData.FindSubmatch(n.read(file)); string(got[2]) != bundle {
		t.Errorf("its bundle was not kept: %s", got[2])
	}
	if said := events(renew.EventRepaired); len(said) != 1 || said[0].ContextMap()["certificate"] != "scheduler.conf" {
		t.Errorf("said %v, want once that it was repaired", said)
	}
	if !slices.Contains(n.done(), "stop kube-scheduler-1") {
		t.Errorf("steps %q: it was not restarted", n.done())
	}
}

// A kubeconfig that leads elsewhere, or trusts another CA, is nothing that a renewal
// makes: it is refused and put back, whatever its certificate is worth.
func TestRunRefusesAnotherKubeconfig(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*fakeNode, []byte) []byte
		err    string
	}{
		{"another server", func(_ *fakeNode, was []byte) []byte {
			return bytes.Replace(was, []byte("https://api:6443"), []byte("https://elsewhere:6443"), 1)
		}, "scheduler.conf: the renewal changed its clusters"},
		{"another CA", func(n *fakeNode, was []byte) []byte {
			other := pkitest.New(n.t, n.Now().Add(-day))
			content := base64.StdEncoding.EncodeToString(n.read(other.Path("/etc/kubernetes/pki/ca.crt")))
			return caData.ReplaceAll(was, []byte("${1}"+content))
		}, "scheduler.conf: the renewal put another CA into it"},
		{"another user", func(_ *fakeNode, was []byte) []byte {
			return bytes.Replace(was, []byte("- name: user\n"), []byte("- name: root\n"), 1)
		}, "scheduler.conf: the renewal changed its users"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newFakeNode(t)
			file := n.files.Certificate("scheduler.conf")
			n.edit(n.preparedFile("scheduler.conf", file), func(was []byte) []byte {
				is := tt.change(n, was)
				if bytes.Equal(is, was) {
					t.Fatal("nothing was changed")
				}
				return is
			})
			before := n.read(file)
			_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if !bytes.Equal(n.read(file), before) {
				t.Error("it was not put back")
			}
			if slices.Contains(n.done(), "stop kube-scheduler-1") || !slices.Contains(n.done(), "stop kube-controller-manager-1") {
				t.Errorf("steps %q: want all but the scheduler restarted", n.done())
			}
			if n.later(time.Second); n.Look(t.Context(), renew.Wish{}).Observation.Failures["renew scheduler.conf"].Count != 1 {
				t.Error("it does not count as a renewal that failed")
			}
		})
	}
}
