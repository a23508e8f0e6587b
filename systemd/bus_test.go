package systemd_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// daemon is where every distribution has it.
const daemon = "/usr/bin/dbus-daemon"

// bus is a D-Bus daemon of our own.
type bus struct {
	address string
	config  string
	process *os.Process
}

// startBus starts a D-Bus daemon that ends with the test.
func startBus(t *testing.T) *bus {
	t.Helper()
	if _, err := os.Stat(daemon); err != nil {
		t.Skip("there is no " + daemon + ": apt-get install dbus-daemon")
	}
	dir := t.TempDir()
	b := &bus{address: "unix:path=" + filepath.Join(dir, "bus"), config: filepath.Join(dir, "bus.conf")}
	config := `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>` + b.address + `</listen><auth>EXTERNAL</auth><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
	if err := os.WriteFile(b.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	return b
}

func (b *bus) start(t *testing.T) {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	// os/exec is for package renew alone, in tests too; this is all that is needed.
	process, err := os.StartProcess(daemon, []string{daemon, "--config-file=" + b.config, "--nofork", "--nopidfile", "--nosyslog", "--print-address=1"},
		&os.ProcAttr{Files: []*os.File{nil, in, nil}})
	_ = in.Close()
	if err != nil {
		t.Fatal(err)
	}
	b.process = process
	t.Cleanup(func() { end(process) })
	// It prints its address once it listens.
	if _, err := out.Read(make([]byte, 200)); err != nil {
		t.Fatalf("dbus-daemon did not start: %v", err)
	}
}

func (b *bus) stop() { end(b.process) }

// end kills a process, unless it was ended before.
func end(process *os.Process) {
	_ = process.Kill()
	_, _ = process.Wait()
}

// dial is how the system bus is dialled, to this one.
func (b *bus) dial(ctx context.Context) (*sd.Conn, error) {
	return sd.NewConnection(func() (*dbus.Conn, error) { return dbus.Connect(b.address, dbus.WithContext(ctx)) })
}

// manager is systemd as far as we use it, on a real bus.
type manager struct {
	conn *dbus.Conn

	mu       sync.Mutex
	units    map[string]map[string]any // properties by unit
	restarts []string                  // "unit mode", one for each request
	reset    []string                  // units whose failures were forgotten
	jobs     uint32
	state    string            // SystemState; "running" where empty
	queued   map[string]string // types of jobs by unit
	// onRestart decides what becomes of a job; it may change the unit. Nil never
	// ends it. Set it with decide.
	onRestart func(unit map[string]any, end func(result string))
}

// startManager puts a systemd on the bus that knows these units.
func startManager(t *testing.T, b *bus, units map[string]map[string]any) *manager {
	t.Helper()
	m := &manager{units: units}
	m.join(t, b)
	return m
}

func (m *manager) join(t *testing.T, b *bus) {
	t.Helper()
	conn, err := dbus.Connect(b.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	const root = "/org/freedesktop/systemd1"
	export := func(methods map[string]any, path dbus.ObjectPath, iface string) {
		if err := conn.ExportMethodTable(methods, path, iface); err != nil {
			t.Fatal(err)
		}
	}
	export(map[string]any{"RestartUnit": m.restartUnit, "ResetFailedUnit": m.resetFailedUnit, "ListJobs": m.listJobs}, root, "org.freedesktop.systemd1.Manager")
	export(map[string]any{"Get": m.systemState},
		root, "org.freedesktop.DBus.Properties")
	for name := range m.units {
		export(map[string]any{"GetAll": func(string) (map[string]dbus.Variant, *dbus.Error) { return m.properties(name), nil }},
			dbus.ObjectPath(root+"/unit/"+sd.PathBusEscape(name)), "org.freedesktop.DBus.Properties")
	}
	m.conn = conn
	if reply, err := conn.RequestName("org.freedesktop.systemd1", dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("name on the bus: %v, %v", reply, err)
	}
}

func (m *manager) properties(name string) map[string]dbus.Variant {
	m.mu.Lock()
	defer m.mu.Unlock()
	properties := map[string]dbus.Variant{}
	for k, v := range m.units[name] {
		properties[k] = dbus.MakeVariant(v)
	}
	return properties
}

// decide sets what becomes of the jobs from now on.
func (m *manager) decide(onRestart func(unit map[string]any, end func(result string))) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onRestart = onRestart
}

// asked are the restarts that were asked for.
func (m *manager) asked() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.restarts)
}

func (m *manager) systemState(string, string) (dbus.Variant, *dbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == "" {
		return dbus.MakeVariant("running"), nil
	}
	return dbus.MakeVariant(m.state), nil
}

// queuedJob is one of ListJobs, as org.freedesktop.systemd1(5) has it.
type queuedJob struct {
	ID                uint32
	Unit, Type, State string
	Path, UnitPath    dbus.ObjectPath
}

func (m *manager) listJobs() ([]queuedJob, *dbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	jobs := []queuedJob{}
	for unit, kind := range m.queued {
		jobs = append(jobs, queuedJob{7, unit, kind, "waiting", "/org/freedesktop/systemd1/job/7", "/org/freedesktop/systemd1/unit/x"})
	}
	return jobs, nil
}

type job struct {
	ID   uint32
	Path dbus.ObjectPath
}

func (m *manager) resetFailedUnit(name string) *dbus.Error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reset = append(m.reset, name)
	delete(m.units[name], "refuse")
	return nil
}

func (m *manager) restartUnit(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restarts = append(m.restarts, name+" "+mode)
	unit, ok := m.units[name]
	if !ok || unit["refuse"] != nil {
		return "", dbus.NewError("org.freedesktop.systemd1.UnitMasked", []any{"Unit " + name + " is masked."})
	}
	m.jobs++
	id := m.jobs
	path := dbus.ObjectPath("/org/freedesktop/systemd1/job/" + strconv.Itoa(int(id)))
	unit["Job"] = job{id, path}
	if m.onRestart != nil {
		m.onRestart(unit, func(result string) {
			unit["Job"] = job{0, "/"}
			_ = m.conn.Emit("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager.JobRemoved", id, path, name, result)
		})
	}
	return path, nil
}

// started makes a unit what it is after a successful start.
func started(unit map[string]any, invocation byte) {
	unit["ActiveState"], unit["SubState"], unit["MainPID"] = "active", "running", uint32(100+int(invocation))
	unit["InvocationID"] = []byte{invocation, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	unit["ActiveEnterTimestamp"] = uint64(time.Date(2026, 3, 1, 12, 0, int(invocation), 0, time.UTC).UnixMicro())
}

// kubeletUnit is a unit that has run since noon.
func kubeletUnit() map[string]any {
	unit := map[string]any{"LoadState": "loaded", "Result": "success", "NRestarts": uint32(2), "Job": job{0, "/"}}
	started(unit, 1)
	return unit
}
