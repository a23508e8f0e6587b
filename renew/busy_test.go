package renew_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
)

// fakeProcess writes what procfs shows of a process.
func fakeProcess(t *testing.T, proc string, pid, parent int, state, nspid, comm string, argv ...string) {
	t.Helper()
	dir := filepath.Join(proc, strconv.Itoa(pid))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"comm":    comm + "\n",
		"cmdline": strings.Join(argv, "\x00") + "\x00",
		"status":  fmt.Sprintf("Name:\t%s\nState:\t%s\nPid:\t%d\nPPid:\t%d\n%s", comm, state, pid, parent, nspid),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBusyKubeadm(t *testing.T) {
	self := os.Getpid()
	for _, c := range []struct {
		name   string
		argv   string
		comm   string // else kubeadm
		state  string // else sleeping
		nspid  string
		parent int // else 1
		want   string
	}{
		{name: "init", argv: "kubeadm init", want: "kubeadm init"},
		{name: "join, without its secrets", argv: "/usr/bin/kubeadm join api:6443 --token abcdef.0123 --certificate-key 00ff", want: "kubeadm join api:6443"},
		{name: "upgrade apply", argv: "kubeadm upgrade apply v1.36.3 -y", want: "kubeadm upgrade apply v1.36.3"},
		{name: "upgrade node", argv: "kubeadm upgrade node", want: "kubeadm upgrade node"},
		{name: "reset", argv: "kubeadm reset --force", want: "kubeadm reset"},
		{name: "certs renew", argv: "kubeadm certs renew all", want: "kubeadm certs renew all"},
		{name: "of old versions", argv: "kubeadm alpha certs renew all", want: "kubeadm certs renew all"},
		{name: "flags first", argv: "kubeadm -v 5 --rootfs=/ --token secret upgrade apply", want: "kubeadm upgrade apply"},
		{name: "flags between", argv: "kubeadm certs --config x renew all", want: "kubeadm certs"},
		{name: "a script", argv: "/bin/sh -e /opt/kubeadm init", want: "kubeadm init"},
		{name: "a version in its name", comm: "kubeadm-v1.36.3", argv: "/opt/kubeadm-v1.36.3 upgrade apply", want: "kubeadm upgrade apply"},
		{name: "frozen", argv: "kubeadm init", state: "T (stopped)", want: "kubeadm init"},
		{name: "in our process namespace", argv: "kubeadm init", nspid: "NSpid:\t500\n", want: "kubeadm init"},

		{name: "check-expiration", argv: "kubeadm certs check-expiration"},
		{name: "certificate-key", argv: "kubeadm certs certificate-key"},
		{name: "config, of an image named init", argv: "kubeadm config images pull init"},
		{name: "token", argv: "kubeadm token create --print-join-command join"},
		{name: "version", argv: "kubeadm version -o short"},
		{name: "nothing", argv: "kubeadm"},
		{name: "nothing yet", argv: ""},
		{name: "another program", comm: "sleep", argv: "sleep init"},
		{name: "another program's argument", comm: "vim", argv: "vim kubeadm init"},
		{name: "named alike", comm: "kubeadm-operator", argv: "kubeadm-operator upgrade"},
		{name: "dead, waited for by nobody", argv: "kubeadm init", state: "Z (zombie)"},
		{name: "in a container", argv: "kubeadm init", nspid: "NSpid:\t500\t7\n"},
		{name: "our child", argv: "kubeadm certs renew all", parent: self},
		{name: "our grandchild", argv: "kubeadm certs renew all", parent: 600},
	} {
		t.Run(c.name, func(t *testing.T) {
			proc := t.TempDir()
			if c.comm == "" {
				c.comm = "kubeadm"
			}
			if c.state == "" {
				c.state = "S (sleeping)"
			}
			if c.parent == 0 {
				c.parent = 1
			}
			fakeProcess(t, proc, 1, 0, "S (sleeping)", "", "systemd", "/sbin/init")
			fakeProcess(t, proc, self, 1, "S (sleeping)", "", "kubecertd", "kubecertd", "run")
			fakeProcess(t, proc, 600, self, "S (sleeping)", "", "sh", "sh")
			fakeProcess(t, proc, 500, c.parent, c.state, c.nspid, c.comm, strings.Split(c.argv, " ")...)
			if err := os.Mkdir(filepath.Join(proc, "sys"), 0o755); err != nil {
				t.Fatal(err)
			}
			var want []renew.Busy
			if c.want != "" {
				want = []renew.Busy{{What: renew.BusyKubeadm, PID: "500", Detail: c.want + " is running (process 500)"}}
			}
			if diff := cmp.Diff(want, renew.Host{Proc: proc, Root: t.TempDir()}.Busy()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// What cannot be told is closed.
func TestBusyUnknown(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg/lock/x"), 0o755); err != nil {
		t.Fatal(err)
	}
	// A directory can be opened and has no locks; a loop of links cannot.
	for _, lock := range []string{"var/lib/dpkg/lock-frontend", "var/lib/rpm/.rpm.lock"} {
		path := filepath.Join(root, lock)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Base(path), path); err != nil {
			t.Fatal(err)
		}
	}
	got := renew.Host{Proc: filepath.Join(root, "proc"), Root: root}.Busy()
	if len(got) != 3 {
		t.Fatalf("%d unknown, want three: %+v", len(got), got)
	}
	for i, word := range []string{"kubeadm", "dpkg", "rpm"} {
		if got[i].What != renew.BusyUnknown || !strings.Contains(got[i].Detail, word+" is at work cannot be told: ") {
			t.Errorf("%s: %+v", word, got[i])
		}
	}
}

// orphan starts a program whose parent is not this process, nor descends from it,
// and returns its process id.
func orphan(t *testing.T, script string) int {
	t.Helper()
	pidfile := filepath.Join(t.TempDir(), "pid")
	// The shell in the middle ends at once: its child is then the child of process 1,
	// or of another that takes orphans in.
	cmd := exec.Command("/bin/sh", "-c", "exec </dev/null >/dev/null 2>&1\n("+script+") &\necho $! >"+pidfile)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(pidfile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	return pid
}

// of waits until a process is among the busy, or until it is sure not to be.
func of(t *testing.T, host renew.Host, pid int, want bool) renew.Busy {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var found renew.Busy
		for _, b := range host.Busy() {
			if b.PID == strconv.Itoa(pid) {
				found = b
			}
		}
		if (found.PID != "") == want {
			return found
		}
		if time.Now().After(end) {
			t.Fatalf("process %d is among the busy: %t, want %t: %+v", pid, found.PID != "", want, host.Busy())
		}
	}
}

// waiter is a script named kubeadm that waits.
func waiter(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeadm")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nwhile :; do sleep 0.05; done\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// What the fake procfs says of processes, the real one does.
func TestBusyRealKubeadm(t *testing.T) {
	host := renew.Host{Root: t.TempDir()}
	script := waiter(t)
	pid := orphan(t, "exec "+script+" upgrade apply v1.36.3 --yes")
	want := renew.Busy{What: renew.BusyKubeadm, PID: strconv.Itoa(pid), Detail: fmt.Sprintf("kubeadm upgrade apply v1.36.3 is running (process %d)", pid)}
	if diff := cmp.Diff(want, of(t, host, pid, true)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	of(t, host, pid, true)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	of(t, host, pid, false)

	// Our own is no reason to wait for ourselves: frozen, to be sure that it is there.
	own := exec.Command(script, "certs", "renew", "all")
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = own.Wait() }()
	defer func() { _ = own.Process.Kill() }()
	if err := own.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	of(t, host, own.Process.Pid, false)
}

// A real kubeadm in a container, where it has another id, is another node's.
func TestBusyElsewhere(t *testing.T) {
	if _, err := exec.LookPath("unshare"); err != nil || os.Geteuid() != 0 {
		t.Skip("a process namespace needs root and unshare of util-linux")
	}
	host := renew.Host{Root: t.TempDir()}
	script := waiter(t)
	parent := orphan(t, "exec unshare --pid --fork --kill-child "+script+" upgrade apply")
	var inside int
	for end := time.Now().Add(10 * time.Second); inside == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no kubeadm was started in a namespace")
		}
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
		child := strings.TrimSpace(string(children))
		if comm, _ := os.ReadFile(filepath.Join("/proc", child, "comm")); string(comm) == "kubeadm\n" {
			inside, _ = strconv.Atoi(child)
		}
	}
	of(t, host, inside, false)
	// Beside it, one that counts.
	of(t, host, orphan(t, "exec "+script+" upgrade apply"), true)
}

const holdLock = "KUBECERTD_TEST_HOLD_LOCK"

func BenchmarkBusy(b *testing.B) {
	for b.Loop() {
		renew.Host{}.Busy()
	}
}
