//go:build linux

package faults_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubecertd/kubecertd/test/lab/disk"
	"github.com/kubecertd/kubecertd/test/story"
)

// strike is what a row does while the daemon waits at its point.
type strike = func(t *testing.T, n *node)

// shell runs a script on the node, and lets the daemon go on.
func shell(script string) strike {
	return func(t *testing.T, n *node) {
		n.MustRun(t, "sh", "-e", "-c", script)
		n.release(t)
	}
}

// script runs a script on the node.
func script(text string) strike {
	return func(t *testing.T, n *node) { n.MustRun(t, "sh", "-e", "-c", text) }
}

// powerCut takes the power, with what was not synced, and switches the node on again.
func powerCut(loss disk.Loss) strike {
	return func(t *testing.T, n *node) {
		n.MustRun(t, "systemctl", "enable", "kubecertd")
		must(t, n.PowerCut(t.Context()))
		n.kubernetes.Cut(loss)
		n.state.Cut(loss)
		must(t, n.Boot(t.Context()))
	}
}

// frozen waits until strace holds kubeadm before its next write to a file that it has
// already changed, and strikes then.
func frozen(file string, then strike) strike {
	return func(t *testing.T, n *node) {
		before := n.Read(t, file)
		story.Eventually(t, time.Minute, func() error {
			if now := n.Read(t, file); now == before {
				return fmt.Errorf("%s is as it was: kubeadm was not held", file)
			}
			return nil
		})
		then(t, n)
	}
}

// killDaemon is what a crash is; systemd ends the kubeadm that it left.
func killDaemon(t *testing.T, n *node) {
	n.MustRun(t, "systemctl", "kill", "--kill-who=main", "--signal=KILL", "kubecertd")
	n.release(t)
}

// terminate is `systemctl stop` in the middle of a run, and a start later.
func terminate(t *testing.T, n *node) {
	n.MustRun(t, "systemctl", "stop", "--no-block", "kubecertd")
	story.Eventually(t, 10*time.Second, func() error {
		if u := n.Unit(t, "kubecertd"); u["ActiveState"] != "deactivating" {
			return fmt.Errorf("the unit is %s", u["ActiveState"])
		}
		return nil
	})
	n.release(t)
	story.Eventually(t, time.Minute, func() error {
		if u := n.Unit(t, "kubecertd"); u["ActiveState"] != "inactive" || u["Result"] != "success" {
			return fmt.Errorf("the unit is %v: want that it has ended well", u)
		}
		return nil
	})
	// Whatever was left for later, nothing is down and every certificate can be used.
	if err := n.Healthy(t.Context()); err != nil {
		t.Errorf("after it has ended: %v", err)
	}
	for name := range story.CertificateFiles {
		if err := n.valid(name); err != nil {
			t.Errorf("after it has ended: %v", err)
		}
	}
	n.MustRun(t, "systemctl", "start", "kubecertd")
}

// upgrade installs another version of the package in the middle of a run.
func upgrade(t *testing.T, n *node) {
	version := story.LaterVersion
	if strings.Contains(n.MustRun(t, "kubecertd", "version"), version) {
		version = story.Version
	}
	deb := builder.Deb(t, version)
	before := n.Unit(t, "kubecertd")["InvocationID"]
	done := make(chan error, 1)
	go func() { done <- n.InstallPackage(t.Context(), deb) }()
	story.Eventually(t, 40*time.Second, func() error {
		select {
		case err := <-done:
			t.Fatalf("dpkg did not wait for the run (%v)", err)
		default:
		}
		if u := n.Unit(t, "kubecertd"); u["ActiveState"] != "deactivating" {
			return fmt.Errorf("the unit is %s: dpkg has not come to stop it", u["ActiveState"])
		}
		return nil
	})
	n.release(t)
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(2 * time.Minute):
		t.Fatal("dpkg does not end")
	}
	if err := story.Contains(n.MustRun(t, "kubecertd", "version"), version); err != nil {
		t.Error(err)
	}
	if after := n.Unit(t, "kubecertd")["InvocationID"]; after == before {
		t.Error("the old daemon still runs")
	}
}

// full leaves no room on a disk, but for some bytes.
func full(which func(*node) *disk.Disk, room int64) strike {
	return func(_ *testing.T, n *node) {
		d := which(n)
		d.Limit(d.Used() + room)
	}
}

// fullRecord leaves no room for another line of the run's record: not even in the last
// block, which is filled with empty lines.
func fullRecord(t *testing.T, n *node) {
	script(`f=$(ls `+story.StateDir+`/runs/*.jsonl | tail -n1); head -c $((4096 - $(stat -c %s "$f") % 4096)) /dev/zero | tr '\0' '\n' >> "$f"`)(t, n)
	full(stateDisk, -1<<20)(t, n)
}

func kubernetesDisk(n *node) *disk.Disk { return n.kubernetes }
func stateDisk(n *node) *disk.Disk      { return n.state }

// roomy takes the limits away.
func roomy(_ *testing.T, n *node) {
	n.kubernetes.Limit(1 << 30)
	n.state.Limit(1 << 30)
}

// readOnly makes a disk read-only, as the kernel does after an error.
func readOnly(which func(*node) *disk.Disk) strike {
	return func(t *testing.T, n *node) { writable(t, which(n), false) }
}

func writableAgain(which func(*node) *disk.Disk) strike {
	return func(t *testing.T, n *node) { writable(t, which(n), true) }
}

func writable(t *testing.T, d *disk.Disk, yes bool) {
	t.Helper()
	flags := uintptr(unix.MS_REMOUNT | unix.MS_NOSUID | unix.MS_NODEV)
	if !yes {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", d.Dir, "", flags, ""); err != nil {
		t.Fatalf("remount %s: %v", d.Dir, err)
	}
}

// clockOff moves the clock of the daemon.
func clockOff(by string) strike {
	return func(t *testing.T, n *node) { n.Write(t, clockFile, by+"\n", 0o600) }
}

// then does one after the other.
func then(strikes ...strike) strike {
	return func(t *testing.T, n *node) {
		for _, s := range strikes {
			s(t, n)
		}
	}
}

func release(t *testing.T, n *node) { n.release(t) }

// kubeadm puts a kubeadm of the row's into place: what it is to do, once or always,
// when it is asked to renew the certificate $3; everything else the real one does.
func kubeadm(onRenew string) strike {
	return func(t *testing.T, n *node) {
		n.Write(t, dir+"/kubeadm", "#!/bin/sh\nif [ \"$1\" = certs ]; then\n"+onRenew+"\nfi\nexec /usr/bin/kubeadm \"$@\"\n", 0o755)
	}
}

// ours makes the daemon run that kubeadm.
const ours = "renew: {kubeadm: " + dir + "/kubeadm, timeout: 20s}\n"

// good is a kubeadm that works.
var good = kubeadm(":")

// cut is a kubeadm to which something happens, once, before it makes a system call on
// a file: "write" of a certificate comes after it was truncated, "close" of a key comes
// after the key and before the certificate.
func cut(certificate, file, call, what string) strike {
	return kubeadm(fmt.Sprintf(`if [ "$3" = %s ] && [ ! -e /run/story-cut ]; then
	touch /run/story-cut
	exec %s/strace -f -qq -o /run/story-strace -P %s -e trace=openat,write,close -e inject=%s:%s:when=1 /usr/bin/kubeadm "$@"
fi`, certificate, dir, file, call, what))
}

// What happens to it: it dies, or stands still for longer than any row takes.
const (
	dies  = "signal=SIGKILL"
	still = "delay_enter=600000000"
)

// traced lets the daemon's children trace each other.
func traced(t *testing.T, n *node) {
	n.Override(t, "RestartSec=1s", "ReadWritePaths=/run "+dir, "SystemCallFilter=@debug", "CapabilityBoundingSet=CAP_SYS_PTRACE")
}

// installStrace copies the host's strace with its libraries.
func (n *node) installStrace(t *testing.T) {
	t.Helper()
	program, err := exec.LookPath("strace")
	must(t, err)
	libraries, err := exec.Command("ldd", program).Output()
	must(t, err)
	n.MustRun(t, "mkdir", "-p", dir+"/lib")
	must(t, n.Copy(program, dir+"/lib/strace", 0o755))
	loader := ""
	for line := range strings.Lines(string(libraries)) {
		for _, word := range strings.Fields(line) {
			if !strings.HasPrefix(word, "/") {
				continue
			}
			resolved, err := filepath.EvalSymlinks(word)
			must(t, err)
			must(t, n.Copy(resolved, dir+"/lib/"+filepath.Base(word), 0o755))
			if strings.Contains(word, "/ld-linux") {
				loader = dir + "/lib/" + filepath.Base(word)
			}
		}
	}
	if _, err := os.Stat(program); err != nil || loader == "" {
		t.Fatalf("%s has no loader: %s", program, libraries)
	}
	n.Write(t, dir+"/strace", fmt.Sprintf("#!/bin/sh\nexec %s --library-path %s/lib %s/lib/strace \"$@\"\n", loader, dir, dir), 0o755)
}
