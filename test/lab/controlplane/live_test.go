//go:build linux

package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
	"github.com/kubecertd/kubecertd/test/lab/machine"
)

// liveName is the lab that the tests of this file share.
const liveName = "test-controlplane"

func TestMain(m *testing.M) {
	code := m.Run()
	if len(controlplane.Missing()) == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := controlplane.Down(ctx, liveName); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		cancel()
	}
	os.Exit(code)
}

func requireLab(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a control plane takes long")
	}
	if missing := controlplane.Missing(); len(missing) > 0 {
		t.Skip(strings.Join(missing, "; "))
	}
}

var up = sync.OnceValues(func() (*controlplane.Cluster, error) {
	return controlplane.Up(context.Background(), controlplane.Options{
		Name: liveName, Validity: 2 * time.Hour, Progress: os.Stderr,
	})
})

// liveNode is a node that is healthy when a test gets it.
func liveNode(t *testing.T) *controlplane.Node {
	t.Helper()
	requireLab(t)
	cluster, err := up()
	if err != nil {
		t.Fatal(err)
	}
	node := cluster.Nodes[0]
	if err := node.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	return node
}

func run(t *testing.T, n *controlplane.Node, argv ...string) string {
	t.Helper()
	result, err := n.Run(t.Context(), argv...)
	if err != nil {
		t.Fatal(err)
	}
	return result.Stdout
}

// eventually polls a condition, which says what is wrong.
func eventually(t *testing.T, limit time.Duration, condition func() error) {
	t.Helper()
	for end := time.Now().Add(limit); ; {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func TestRun(t *testing.T) {
	n := liveNode(t)
	result, err := n.Run(t.Context(), "sh", "-c", "hostname; echo wrong >&2; exit 7")
	var exit *machine.ExitError
	if !errors.As(err, &exit) || exit.ExitCode != 7 {
		t.Errorf("err = %v, want exit code 7", err)
	}
	if result.Stdout != "cp1\n" || result.Stderr != "wrong\n" {
		t.Errorf("stdout %q, stderr %q", result.Stdout, result.Stderr)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	n := liveNode(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := n.Run(ctx, "sh", "-c", "sleep 1234; true"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v, want the deadline", err)
	}
	eventually(t, 5*time.Second, func() error {
		pids, err := n.Pids("sleep")
		if err == nil && len(pids) > 0 {
			err = fmt.Errorf("the command's child lives on as %v", pids)
		}
		return err
	})
}

func TestFiles(t *testing.T) {
	n := liveNode(t)
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// One place on the node's disk, one that only the node has mounted, one
	// behind an absolute link.
	for _, path := range []string{"/root/copied", "/run/copied", "/var/run/linked"} {
		if err := n.Copy(source, path, 0o640); err != nil {
			t.Fatal(err)
		}
		if got := run(t, n, "sh", "-c", "stat -c %a "+path+"; cat "+path); got != "640\ntext\n" {
			t.Errorf("%s: %q", path, got)
		}
	}
	data, err := n.ReadFile("/var/lib/kubelet/pki/kubelet-client-current.pem")
	if err != nil || !strings.Contains(string(data), "BEGIN CERTIFICATE") {
		t.Errorf("the kubelet's certificate, behind an absolute link: %v", err)
	}
	// The host sees the node's disk, volumes included.
	for _, path := range []string{"root/copied", "var/lib/etcd/member/wal", "etc/kubernetes/admin.conf"} {
		if _, err := os.Stat(filepath.Join(n.Root(), path)); err != nil {
			t.Error(err)
		}
	}
	if _, err := n.ReadFile("/no/such/file"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("err = %v, want that it does not exist", err)
	}
}

func TestJournal(t *testing.T) {
	n := liveNode(t)
	began := time.Now()
	cmd, err := n.Command(t.Context(), "logger", "--journald")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = strings.NewReader("MESSAGE=from the test\nCERTIFICATE=apiserver\nCERTIFICATE=etcd-server\nPRIORITY=4\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	entries, err := n.Journal(t.Context(), machine.Query{Since: began, Match: []string{"PRIORITY=4", "CERTIFICATE=apiserver"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Fatalf("%d entries, want the one just written: %v", len(entries), entries)
	}
	if e := entries[0]; e.Message() != "from the test" || e["CERTIFICATE"] != "apiserver\netcd-server" || e.Time().Before(began.Truncate(time.Microsecond)) {
		t.Errorf("entry = %v", e)
	}
	kubelet, err := n.Journal(t.Context(), machine.Query{Unit: "kubelet"})
	if err != nil || len(kubelet) == 0 {
		t.Errorf("the kubelet wrote %d entries: %v", len(kubelet), err)
	}
	later, err := n.Journal(t.Context(), machine.Query{Since: time.Now().Add(time.Hour)})
	if err != nil || len(later) != 0 {
		t.Errorf("%d entries of the future: %v", len(later), err)
	}
}

// sandboxed is a unit as a careful package has it.
const sandboxed = `[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'touch $STATE_DIRECTORY/made && ! touch /etc/made && systemd-notify --ready --status=fine && exec sleep infinity'
StateDirectory=sandboxed
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
MemoryDenyWriteExecute=yes
SystemCallFilter=@system-service
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_KILL
[Install]
WantedBy=multi-user.target
`

func TestInstallPackageWithSandboxedUnit(t *testing.T) {
	n := liveNode(t)
	run(t, n, "mkdir", "-p", "/tmp/pkg/DEBIAN", "/tmp/pkg/usr/lib/systemd/system")
	for path, text := range map[string]string{
		"/tmp/pkg/DEBIAN/control":                           "Package: sandboxed\nVersion: 1\nArchitecture: all\nMaintainer: lab <lab@localhost>\nDescription: test\n",
		"/tmp/pkg/usr/lib/systemd/system/sandboxed.service": sandboxed,
	} {
		if err := n.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, n, "dpkg-deb", "--build", "/tmp/pkg", "/root/built.deb")
	if err := n.InstallPackage(t.Context(), filepath.Join(n.Root(), "root/built.deb")); err != nil {
		t.Fatal(err)
	}
	run(t, n, "systemctl", "enable", "--now", "sandboxed")
	got := run(t, n, "systemctl", "show", "--property=ActiveState,StatusText", "sandboxed")
	if got != "StatusText=fine\nActiveState=active\n" && got != "ActiveState=active\nStatusText=fine\n" {
		t.Errorf("unit: %q", got)
	}
	if _, err := n.ReadFile("/var/lib/sandboxed/made"); err != nil {
		t.Error(err)
	}
	run(t, n, "dpkg", "--purge", "sandboxed")
}
