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

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
)

// hold has another process hold a real lock, as dpkg and rpm do, until released.
func hold(t *testing.T, name, kind string, files ...string) (pid int, release func()) {
	t.Helper()
	for _, file := range files {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The kernel names a process by what was executed.
	program := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestHoldLock$")
	cmd.Env = append(os.Environ(), holdLock+"="+kind+":"+strings.Join(files, ":"))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	var done bool
	release = func() {
		if !done {
			done = true
			_ = stdin.Close()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(release)
	return cmd.Process.Pid, release
}

// TestHoldLock is that other process.
func TestHoldLock(t *testing.T) {
	kind, files, ok := strings.Cut(os.Getenv(holdLock), ":")
	if !ok {
		t.Skip("only for the other tests of locks")
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK}
	if kind == "read" {
		lock.Type = syscall.F_RDLCK
	}
	for _, file := range strings.Split(files, ":") {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &lock); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Println("held")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until it is closed
}

// packages are the busy package managers. Other tests may run a kubeadm meanwhile.
func packages(host renew.Host) []renew.Busy {
	var found []renew.Busy
	for _, b := range host.Busy() {
		if b.What != renew.BusyKubeadm {
			found = append(found, b)
		}
	}
	return found
}

func TestBusyPackages(t *testing.T) {
	const (
		frontend = "/var/lib/dpkg/lock-frontend"
		dpkg     = "/var/lib/dpkg/lock"
		rpm      = "/var/lib/rpm/.rpm.lock"
		sysimage = "/usr/lib/sysimage/rpm/.rpm.lock"
	)
	type holder struct {
		name, kind string
		files      []string
	}
	for _, c := range []struct {
		name    string
		holders []holder
		what    string // else not busy
		lock    string
		by      int // which of the holders is named
	}{
		{name: "nobody"},
		{name: "dpkg alone", holders: []holder{{"dpkg", "write", []string{frontend, dpkg}}}, what: renew.BusyDpkg, lock: dpkg},
		{name: "dpkg, called by apt", holders: []holder{{"apt-get", "write", []string{frontend}}, {"dpkg", "write", []string{dpkg}}}, what: renew.BusyDpkg, lock: dpkg, by: 1},
		{name: "apt between two dpkg", holders: []holder{{"apt-get", "write", []string{frontend}}}, what: renew.BusyDpkg, lock: dpkg},
		{name: "apt asking", holders: []holder{{"apt-get", "write", []string{frontend, dpkg}}}},
		{name: "an unknown program with the inner lock", holders: []holder{{"backup", "write", []string{dpkg}}}, what: renew.BusyDpkg, lock: dpkg},
		{name: "rpm", holders: []holder{{"rpm", "write", []string{rpm}}}, what: renew.BusyRpm, lock: rpm},
		{name: "dnf, elsewhere", holders: []holder{{"dnf", "write", []string{sysimage}}}, what: renew.BusyRpm, lock: sysimage},
		{name: "rpm only reading", holders: []holder{{"rpm", "read", []string{rpm}}}},
		{name: "at two places", holders: []holder{{"rpm", "write", []string{rpm, sysimage}}}, what: renew.BusyRpm, lock: rpm},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := renew.Host{Root: t.TempDir()}
			var pids []int
			var releases []func()
			for _, h := range c.holders {
				var files []string
				for _, file := range h.files {
					files = append(files, filepath.Join(host.Root, file))
				}
				pid, release := hold(t, h.name, h.kind, files...)
				pids, releases = append(pids, pid), append(releases, release)
			}
			var want []renew.Busy
			if c.what != "" {
				pid := strconv.Itoa(pids[c.by])
				want = []renew.Busy{{What: c.what, PID: pid, Detail: fmt.Sprintf(
					"packages are being installed or removed: %s is locked by %s (process %s)", c.lock, c.holders[c.by].name, pid)}}
			}
			if diff := cmp.Diff(want, packages(host)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			for _, release := range releases {
				release()
			}
			if left := packages(host); left != nil {
				t.Errorf("released, and still %+v", left)
			}
		})
	}
}

// A lock without a process that could be named is a lock.
func TestBusyPackagesUnnamed(t *testing.T) {
	host := renew.Host{Root: t.TempDir()}
	for _, name := range []string{"lock", "lock-frontend"} {
		path := filepath.Join(host.Root, "var/lib/dpkg", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		// A lock of the open file belongs to no process (F_OFD_SETLK).
		if err := syscall.FcntlFlock(f.Fd(), 37, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
			t.Fatal(err)
		}
	}
	want := []renew.Busy{{What: renew.BusyDpkg, Detail: "packages are being installed or removed: /var/lib/dpkg/lock is locked by a process of another namespace"}}
	if diff := cmp.Diff(want, packages(host)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
