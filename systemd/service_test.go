package systemd_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
	"sigs.k8s.io/yaml"
)

// service is kubecertd.service, parsed as systemd does.
func service(t *testing.T) (content string, get func(section, name string) []string) {
	t.Helper()
	file, err := os.ReadFile("kubecertd.service")
	if err != nil {
		t.Fatal(err)
	}
	options, err := unit.DeserializeOptions(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return string(file), func(section, name string) []string {
		var values []string
		for _, o := range options {
			if o.Section == section && o.Name == name {
				values = append(values, o.Value)
			}
		}
		return values
	}
}

// What the unit promises to systemd, the code keeps; what the code relies on, the
// unit provides.
func TestServicePromises(t *testing.T) {
	_, get := service(t)
	for _, want := range []struct{ section, name, value, why string }{
		{"Service", "Type", "notify", "Notifier.Ready is sent after the first look"},
		{"Service", "NotifyAccess", "main", "kubeadm inherits NOTIFY_SOCKET"},
		{"Service", "ExecStart", "/usr/bin/kubecertd run", "where the packages put the program"},
		{"Service", "ExecReload", "/bin/kill -HUP $MAINPID", "SIGHUP reads the configuration again"},
		{"Service", "Restart", "on-failure", "a watchdog that nobody answers is a failure"},
		{"Service", "KillMode", "mixed", "kubeadm is not cut off between a key and its certificate"},
		{"Service", "StateDirectoryMode", "0700", "keys may lie there"},
		{"Service", "UMask", "0077", "keys may lie there"},
		{"Service", "LimitCORE", "0", "a core dump would hold keys"},
		{"Service", "ProtectSystem", "strict", "the list of what it may write is the whole list"},
		{"Install", "WantedBy", "multi-user.target", "systemctl enable"},
	} {
		if got := get(want.section, want.name); !slices.Equal(got, []string{want.value}) {
			t.Errorf("[%s] %s is %q, want %q: %s", want.section, want.name, got, want.value, want.why)
		}
	}
	// At shutdown the reverse: what a run has stopped can be brought back until it ends.
	// TestRestart demands that the restart of the kubelet is in no such order.
	after := strings.Fields(strings.Join(get("Unit", "After"), " "))
	for _, name := range []string{"kubelet.service", "containerd.service", "crio.service", "dbus.service", "network.target"} {
		if !slices.Contains(after, name) {
			t.Errorf("[Unit] After=%s lacks %s, which would be stopped beneath a run at shutdown", after, name)
		}
	}
	if get("Unit", "Before") != nil || get("Unit", "DefaultDependencies") != nil {
		t.Error("[Unit] it must start last and stop first")
	}
	// It must start and stay when these are broken.
	for _, name := range []string{"Requires", "Requisite", "BindsTo", "PartOf", "Wants", "Upholds"} {
		if got := get("Unit", name); len(got) > 0 {
			t.Errorf("[Unit] %s=%s: kubecertd must not depend on another unit", name, got)
		}
	}
	// Others can read them, through systemctl show and in /proc.
	if got := get("Service", "Environment"); len(got) > 0 {
		t.Errorf("[Service] Environment=%s: what is set there can be read by everybody", got)
	}
	// Whether the clock is kept is asked, and never set.
	if got := strings.Join(get("Service", "SystemCallFilter"), " "); !slices.Contains(strings.Fields(got), "adjtimex") || get("Service", "ProtectClock") != nil {
		t.Errorf("[Service] SystemCallFilter=%s: runtime.ClockKept needs adjtimex, and ProtectClock= forbids it", got)
	}
	if got := strings.Join(get("Service", "CapabilityBoundingSet"), " "); strings.Contains(got, "CAP_SYS_TIME") {
		t.Errorf("[Service] CapabilityBoundingSet=%s: the clock is not set here", got)
	}
	// What the code reads would be hidden.
	for _, name := range []string{"ProtectProc", "ProcSubset", "PrivateNetwork", "PrivateUsers", "PrivatePIDs", "DynamicUser", "User", "RootDirectory"} {
		if got := get("Service", name); len(got) > 0 {
			t.Errorf("[Service] %s=%s would hide other processes, ports or files from it", name, got)
		}
	}
}

// The times in the unit leave room for those in the configuration.
func TestServiceTimes(t *testing.T) {
	_, get := service(t)
	var configuration struct {
		Renew struct{ Timeout string }
		Paths struct{ State string }
	}
	file, err := os.ReadFile("../configs/kubecertd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(file, &configuration); err != nil {
		t.Fatal(err)
	}
	if got, want := get("Service", "StateDirectory"), strings.TrimPrefix(configuration.Paths.State, "/var/lib/"); !slices.Equal(got, []string{want}) {
		t.Errorf("StateDirectory is %q, paths.state is %q", got, configuration.Paths.State)
	}
	duration := func(value string) time.Duration {
		d, err := time.ParseDuration(strings.NewReplacer("min", "m").Replace(value))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	watchdog := duration(get("Service", "WatchdogSec")[0])
	if renew := duration(configuration.Renew.Timeout); watchdog < 2*renew {
		t.Errorf("WatchdogSec is %s: a hanging kubeadm may take %s without a sign of life", watchdog, renew)
	}
	if start := duration(get("Service", "TimeoutStartSec")[0]); start < 10*time.Second {
		t.Errorf("TimeoutStartSec is %s, too short for a first look", start)
	}
	if stop := duration(get("Service", "TimeoutStopSec")[0]); stop < watchdog {
		t.Errorf("TimeoutStopSec is %s: the restarts under way must be finished", stop)
	}
}

// What the configuration offers for the metrics, the sandbox allows.
func TestServiceMetrics(t *testing.T) {
	_, get := service(t)
	writable := strings.Fields(strings.Join(get("Service", "ReadWritePaths"), " "))
	for _, dir := range []string{"-/var/lib/prometheus/node-exporter", "-/var/lib/node_exporter"} {
		if !slices.Contains(writable, dir) {
			t.Errorf("[Service] ReadWritePaths=%s lacks %s, of which kubecertd.yaml says that it is allowed (metrics.textfile)", writable, dir)
		}
	}
	if got := strings.Fields(strings.Join(get("Service", "RestrictAddressFamilies"), " ")); !slices.Contains(got, "AF_INET") || !slices.Contains(got, "AF_INET6") {
		t.Errorf("[Service] RestrictAddressFamilies=%s: metrics.listen needs AF_INET and AF_INET6", got)
	}
	for _, name := range []string{"SocketBindDeny", "IPAddressDeny", "RestrictNetworkInterfaces"} {
		if got := get("Service", name); len(got) > 0 {
			t.Errorf("[Service] %s=%s would keep Prometheus out (metrics.listen)", name, got)
		}
	}
}

// Every line has its reason above it.
func TestServiceReasons(t *testing.T) {
	content, _ := service(t)
	section, previous, lines := "", "", 0
	for i, line := range strings.Split(content, "\n") {
		switch {
		case strings.HasPrefix(line, "["):
			section = line
		case section != "[Unit]" && strings.Contains(line, "=") && !strings.HasPrefix(line, "#"):
			lines++
			if !strings.HasPrefix(previous, "# ") {
				t.Errorf("line %d, %s: no reason above it", i+1, line)
			}
		}
		previous = line
	}
	if lines < 30 {
		t.Errorf("only %d lines were looked at", lines)
	}
}

// systemd's own opinion, where it is installed.
func TestServiceVerified(t *testing.T) {
	const analyze = "/usr/bin/systemd-analyze"
	if _, err := os.Stat(analyze); err != nil {
		t.Skip("there is no " + analyze)
	}
	content, _ := service(t)
	path := filepath.Join(t.TempDir(), "kubecertd.service")
	// It looks for the program, which need not be installed here.
	content = strings.ReplaceAll(content, "/usr/bin/kubecertd", "/bin/true")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = output.Close() }()
	process, err := os.StartProcess(analyze, []string{analyze, "verify", "--man=no", path}, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{nil, output, output}})
	if err != nil {
		t.Fatal(err)
	}
	state, err := process.Wait()
	if err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile(output.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !state.Success() || strings.Contains(string(said), "kubecertd.service") {
		t.Errorf("%s: %s", state, said)
	}
}
