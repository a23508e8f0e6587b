package systemd_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kubecertd/kubecertd/systemd"
)

const kubelet = "kubelet.service"

// connected is a manager on a bus of its own, with a kubelet.
func connected(t *testing.T) (*bus, *manager, *systemd.Manager) {
	t.Helper()
	b := startBus(t)
	fake := startManager(t, b, map[string]map[string]any{kubelet: kubeletUnit(), "gone.service": {"LoadState": "not-found", "ActiveState": "inactive"}})
	// The way that Connect takes first.
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", b.address)
	m, err := systemd.ConnectThrough(t.Context(), []string{"dbus"}, sd.NewSystemConnectionContext)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return b, fake, m
}

func TestUnit(t *testing.T) {
	_, fake, m := connected(t)
	want := systemd.Unit{Name: kubelet, LoadState: "loaded", ActiveState: "active", SubState: "running",
		InvocationID: "0102030405060708090a0b0c0d0e0f10", MainPID: 101, ActiveSince: time.Date(2026, 3, 1, 12, 0, 1, 0, time.UTC),
		Result: "success", NRestarts: 2}
	got, err := m.Unit(t.Context(), kubelet)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(systemd.Unit{})); diff != "" {
		t.Errorf("unit (-want +got):\n%s", diff)
	}

	got, err = m.Unit(t.Context(), "gone.service")
	if err != nil || got.LoadState != "not-found" || got.InvocationID != "" || !got.ActiveSince.IsZero() {
		t.Errorf("a unit that does not exist: %+v, %v", got, err)
	}
	if _, err := m.Unit(t.Context(), "unknown.service"); err == nil || !strings.Contains(err.Error(), "state of unknown.service: systemd: ") {
		t.Errorf("error %v, want one that names the unit", err)
	}
	if len(fake.asked()) != 0 {
		t.Errorf("looking restarted %v", fake.asked())
	}
}

func TestConnectNowhere(t *testing.T) {
	nowhere := func(ctx context.Context) (*sd.Conn, error) {
		return sd.NewConnection(func() (*dbus.Conn, error) {
			return dbus.Connect("unix:path="+filepath.Join(t.TempDir(), "none"), dbus.WithContext(ctx))
		})
	}
	_, err := systemd.ConnectThrough(t.Context(), []string{"one", "two"}, nowhere, nowhere)
	if err == nil || !strings.HasPrefix(err.Error(), "systemd cannot be reached: one: dial unix ") ||
		!strings.Contains(err.Error(), "(look at one); two: dial unix ") || !strings.HasSuffix(err.Error(), "no such file or directory (look at two)") {
		t.Errorf("error %v, want both ways and what to do", err)
	}
}

// A bus that hangs must not hang us, and systemd itself is still there.
func TestConnectPastHangingBus(t *testing.T) {
	b := startBus(t)
	startManager(t, b, map[string]map[string]any{kubelet: kubeletUnit()})
	path := filepath.Join(t.TempDir(), "hangs")
	l, err := net.Listen("unix", path) // takes connections and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	hangs := func(ctx context.Context) (*sd.Conn, error) {
		return sd.NewConnection(func() (*dbus.Conn, error) { return dbus.Connect("unix:path="+path, dbus.WithContext(ctx)) })
	}
	began := time.Now()
	m, err := systemd.ConnectThrough(t.Context(), []string{"bus", "systemd"}, hangs, b.dial)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
	if u, err := m.Unit(t.Context(), kubelet); err != nil || u.ActiveState != "active" {
		t.Errorf("got %+v, %v", u, err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 800*time.Millisecond)
	defer cancel()
	_, err = systemd.ConnectThrough(ctx, []string{"bus", "systemd"}, hangs, hangs)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "bus: no answer within 500ms: ") || !strings.Contains(err.Error(), "systemd: no answer within ") {
		t.Errorf("error %v, want the time it was given", err)
	}
}

// A bus on which systemd has not appeared yet is no way to it.
func TestConnectWithoutSystemd(t *testing.T) {
	b := startBus(t)
	_, err := systemd.ConnectThrough(t.Context(), []string{"bus"}, b.dial)
	if err == nil || !strings.Contains(err.Error(), "org.freedesktop.systemd1") {
		t.Errorf("error %v, want one that says that systemd is not there", err)
	}
}

// The D-Bus daemon is restarted: the next question is answered all the same. While
// it is down, the error says so.
func TestReconnect(t *testing.T) {
	b, fake, m := connected(t)
	b.stop()
	_, err := m.Unit(t.Context(), kubelet)
	if err == nil || !strings.Contains(err.Error(), "state of kubelet.service: systemd cannot be reached: dbus: ") {
		t.Errorf("error %v while the bus is down", err)
	}
	b.start(t)
	fake.join(t, b)
	if u, err := m.Unit(t.Context(), kubelet); err != nil || u.ActiveState != "active" {
		t.Errorf("after the bus is back: %+v, %v", u, err)
	}
}

// systemd itself was gone from the bus for a moment; the connection is the old one.
func TestReconnectToSystemd(t *testing.T) {
	b, fake, m := connected(t)
	_ = fake.conn.Close()
	if _, err := m.Unit(t.Context(), kubelet); err == nil {
		t.Error("no error while systemd is away")
	}
	fake.join(t, b)
	if _, err := m.Unit(t.Context(), kubelet); err != nil {
		t.Error(err)
	}
}

func TestClosed(t *testing.T) {
	_, _, m := connected(t)
	m.Close()
	m.Close()
	// It is only a connection: it is made again.
	if _, err := m.Unit(t.Context(), kubelet); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Unit(ctx, kubelet); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the cancellation", err)
	}
}
