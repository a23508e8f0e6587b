//go:build linux

package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

// killed is the lab that these tests kill. Its traces are looked for without
// the help of the code that is to remove them.
const killed = "test-killed"

var folder = "/var/lib/kubecertd-lab/" + killed

// traces lists all that the lab has on this host.
func traces(t *testing.T) []string {
	t.Helper()
	var found []string
	inMounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(inMounts)) {
		if strings.Contains(line, folder+"/") {
			found = append(found, "mount "+strings.TrimSpace(line))
		}
	}
	for _, pattern := range []string{
		folder, "/sys/fs/cgroup/kubecertd-lab/" + killed, "/sys/fs/cgroup/*/kubecertd-lab/" + killed,
		"/run/systemd/nspawn/*/kubecertd-lab-" + killed + "-*",
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			found = append(found, "path "+path)
		}
	}
	return append(found, processTraces(t)...)
}

// processTraces looks at command lines, cgroups and root file systems.
func processTraces(t *testing.T) []string {
	t.Helper()
	var found []string
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		// A zombie is dead and holds nothing; it waits for its parent.
		if stat, err := os.ReadFile(filepath.Join(dir, "stat")); err != nil || strings.Contains(string(stat), ") Z ") {
			continue
		}
		for _, file := range []string{"cmdline", "cgroup", "mountinfo"} {
			// Gone meanwhile is as good as empty. A machine's mount table has
			// its folder in the options of its root.
			data, _ := os.ReadFile(filepath.Join(dir, file))
			text := string(data) + "\n"
			if strings.Contains(text, folder+"/cp1/upper") && file == "mountinfo" && !hostMounts(t, dir) ||
				strings.Contains(text, folder+"/") && file == "cmdline" ||
				strings.Contains(text, "/kubecertd-lab/"+killed+"/") && file == "cgroup" {
				found = append(found, "process "+dir+" by "+file)
			}
		}
	}
	return found
}

// hostMounts says whether a process has the host's own mounts.
func hostMounts(t *testing.T, dir string) bool {
	t.Helper()
	theirs, err := os.Readlink(filepath.Join(dir, "ns/mnt"))
	if err != nil {
		return true // it has ended
	}
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	return theirs == ours
}

// links are the lab's links, by the slot that it has recorded.
func links(t *testing.T, slot int) []string {
	t.Helper()
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	bridge := fmt.Sprintf("kcl%d", slot)
	for _, i := range interfaces {
		if i.Name == bridge || strings.HasPrefix(i.Name, bridge+"-") {
			found = append(found, i.Name)
		}
	}
	return found
}

func recordedSlot(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile(folder + "/lab.json")
	if err != nil {
		t.Fatal(err)
	}
	var record struct{ Slot int }
	if err := json.Unmarshal(data, &record); err != nil {
		t.Fatal(err)
	}
	return record.Slot
}

// rootLock is the lock file that systemd-nspawn has for the root folder.
func rootLock() string {
	var at syscall.Stat_t
	if syscall.Stat(folder+"/cp1/root", &at) != nil {
		return "none"
	}
	return fmt.Sprintf("/run/systemd/nspawn/locks/inode-%d:%d", at.Dev, at.Ino)
}

// kernel is what the kubelet would set for all of the host.
func kernel(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, name := range []string{"vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "kernel/hostname", "net/ipv4/ip_forward"} {
		data, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			t.Fatal(err)
		}
		values[name] = string(data)
	}
	return values
}

// build makes the command, so that a signal reaches it and not the go command.
func build(t *testing.T) (lab string) {
	t.Helper()
	if testing.Short() {
		t.Skip("bringing labs up takes long")
	}
	if missing := controlplane.Missing(); len(missing) > 0 {
		t.Skip(strings.Join(missing, "; "))
	}
	lab = filepath.Join(t.TempDir(), "lab")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", lab, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command(lab, "--name", killed, "down").Run() })
	return lab
}

func mustRun(t *testing.T, lab string, args ...string) string {
	t.Helper()
	// As long as it takes to build all parts on a slow machine.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, lab, append([]string{"--name", killed}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("lab %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// killWhen starts `up` and kills it as soon as there is something at path.
func killWhen(t *testing.T, lab, path string) {
	t.Helper()
	cmd := exec.Command(lab, "--name", killed, "up")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for limit := time.After(3 * time.Minute); ; {
		if found, err := filepath.Glob(path); err == nil && len(found) > 0 {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("up ended before %s was there: %v\n%s", path, err, &out)
		case <-limit:
			_ = cmd.Process.Kill()
			t.Fatalf("%s never came: %v\n%s", path, <-ended, &out)
		case <-time.After(time.Millisecond):
		}
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	t.Log("up:", <-ended)
}

// However far `up` came before it was killed, `down` leaves nothing.
func TestDownAfterKilledUp(t *testing.T) {
	lab := build(t)
	mustRun(t, lab, "parts")
	mustRun(t, lab, "down")
	before := kernel(t)
	for _, stage := range []struct{ name, path string }{
		{"recorded", folder + "/lab.json"},
		{"bridge", folder + "/cluster.json"},
		{"disks", folder + "/cp1/volumes/*"},
		{"network", folder + "/cp1/netns"},
		{"cgroups", "/sys/fs/cgroup/*/kubecertd-lab/" + killed + "/cp1"},
		{"starting", folder + "/cp1/console.log"},
		{"booting", folder + "/cp1/leader"},
		{"kubeadm", folder + "/cp1/upper/root/kubeadm-init.yaml"},
		{"kubelet", "/sys/fs/cgroup/*/kubecertd-lab/" + killed + "/cp1/kubepods"},
		{"containers", folder + "/cp1/upper/var/log/pods/*"},
	} {
		t.Run(stage.name, func(t *testing.T) {
			killWhen(t, lab, stage.path)
			slot, lock := recordedSlot(t), rootLock()
			mustRun(t, lab, "down")
			if left := append(traces(t), links(t, slot)...); len(left) > 0 {
				t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
			}
			if _, err := os.Stat(lock); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left behind: %s (%v)", lock, err)
			}
		})
	}
	if diff := cmp.Diff(before, kernel(t)); diff != "" {
		t.Errorf("settings of the host's kernel (-before +after):\n%s", diff)
	}
}

// A second `up` replaces what a killed one left, and the whole life of a lab
// can be seen through the command.
func TestLifeOfALab(t *testing.T) {
	lab := build(t)
	killWhen(t, lab, folder+"/cp1/upper/root/kubeadm-init.yaml")
	before := kernel(t)

	out := mustRun(t, lab, "up", "--validity", "1h")
	if !strings.Contains(out, "is up: cp1 (10.99.") {
		t.Errorf("up says:\n%s", out)
	}
	if len(traces(t)) == 0 || len(links(t, recordedSlot(t))) != 2 {
		t.Fatal("the traces of a running lab are not seen: this test cannot see any")
	}
	if out := mustRun(t, lab, "status"); !strings.Contains(out, "healthy") {
		t.Errorf("status says:\n%s", out)
	}
	if out := mustRun(t, lab, "sh", "cp1", "sh", "-c", "echo 7 > /proc/sys/kernel/panic; hostname"); out != "cp1\n" {
		t.Errorf("sh says %q", out)
	}
	err := exec.Command(lab, "--name", killed, "sh", "cp1", "sh", "-c", "exit 9").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 9 {
		t.Errorf("sh ends with %v, want the command's exit code 9", err)
	}
	if diff := cmp.Diff(before, kernel(t)); diff != "" {
		t.Errorf("settings of the host's kernel (-before +after):\n%s", diff)
	}

	slot := recordedSlot(t)
	mustRun(t, lab, "down")
	if left := append(traces(t), links(t, slot)...); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	if out := mustRun(t, lab, "status"); !strings.HasPrefix(out, "there is no lab") {
		t.Errorf("status after down says:\n%s", out)
	}
	mustRun(t, lab, "down")
}
