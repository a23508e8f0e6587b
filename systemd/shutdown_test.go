package systemd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// logind is as much of it as is asked here, on a real bus.
type logind struct {
	mu        sync.Mutex
	preparing bool
	asked     []string // arguments of Inhibit
	refuse    *dbus.Error
	hang      chan struct{} // calls wait for it, if there
	locks     []*os.File    // the ends that are handed out
	watches   []*os.File    // the other ends: EOF when the lock is released
}

func startLogind(t *testing.T, b *bus) *logind {
	t.Helper()
	conn, err := dbus.Connect(b.address)
	if err != nil {
		t.Fatal(err)
	}
	l := &logind{}
	t.Cleanup(func() {
		_ = conn.Close()
		for _, file := range append(l.locks, l.watches...) {
			_ = file.Close()
		}
	})
	const path = "/org/freedesktop/login1"
	for iface, methods := range map[string]map[string]any{
		"org.freedesktop.login1.Manager": {"Inhibit": l.inhibit},
		"org.freedesktop.DBus.Properties": {"Get": func(iface, name string) (dbus.Variant, *dbus.Error) {
			l.wait()
			if iface+"."+name != "org.freedesktop.login1.Manager.PreparingForShutdown" {
				return dbus.Variant{}, dbus.MakeFailedError(fmt.Errorf("no %s.%s", iface, name))
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			return dbus.MakeVariant(l.preparing), nil
		}},
	} {
		if err := conn.ExportMethodTable(methods, path, iface); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.RequestName("org.freedesktop.login1", dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	return l
}

// change runs do while no call is answered.
func (l *logind) change(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
}

func (l *logind) wait() {
	l.mu.Lock()
	hang := l.hang
	l.mu.Unlock()
	if hang != nil {
		<-hang
	}
}

func (l *logind) inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	l.wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, strings.Join([]string{what, who, why, mode}, "|"))
	if l.refuse != nil {
		return 0, l.refuse
	}
	watch, lock, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	l.locks, l.watches = append(l.locks, lock), append(l.watches, watch)
	return dbus.UnixFD(lock.Fd()), nil
}

// held says whether anybody but ourselves has the only lock that was given.
func (l *logind) held(t *testing.T) bool {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.locks) != 1 {
		t.Fatalf("%d locks were given, want one", len(l.locks))
	}
	_ = l.locks[0].Close()
	if err := l.watches[0].SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err := l.watches[0].Read(make([]byte, 1))
	if err != io.EOF && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err != io.EOF
}

func TestStopping(t *testing.T) {
	for _, tt := range []struct {
		name, state string
		queued      map[string]string
		preparing   bool
		want        bool
	}{
		{"running", "running", nil, false, false},
		{"with failed units", "degraded", nil, false, false},
		{"stopping", "stopping", nil, false, true},
		{"still starting", "starting", map[string]string{"multi-user.target": "start"}, false, false},
		{"stopped while starting", "starting", map[string]string{"shutdown.target": "start"}, false, true},
		{"a shutdown called off while starting", "starting", map[string]string{"shutdown.target": "stop"}, false, false},
		{"delayed by logind", "running", nil, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, fake, m := connected(t)
			l := startLogind(t, b)
			fake.mu.Lock()
			fake.state, fake.queued = tt.state, tt.queued
			fake.mu.Unlock()
			l.change(func() { l.preparing = tt.preparing })
			if got, err := m.Stopping(t.Context()); got != tt.want || err != nil {
				t.Errorf("stopping: %t, %v, want %t", got, err, tt.want)
			}
		})
	}
}

func TestStoppingWithoutLogind(t *testing.T) {
	b, fake, m := connected(t)
	if got, err := m.Stopping(t.Context()); got || err != nil {
		t.Errorf("stopping: %t, %v, want neither", got, err)
	}
	// The connection that the manager has is the private one, and there is no bus.
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	if got, err := m.Stopping(t.Context()); got || err != nil {
		t.Errorf("without a bus: %t, %v, want neither", got, err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", b.address)

	// systemd was gone for a moment, and then for good.
	_ = fake.conn.Close()
	fake.join(t, b)
	if _, err := m.Stopping(t.Context()); err != nil {
		t.Error(err)
	}
	b.stop()
	if _, err := m.Stopping(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "whether the machine is shutting down: systemd cannot be reached") {
		t.Errorf("error %v, want that systemd cannot be reached", err)
	}
}

func TestDelayShutdown(t *testing.T) {
	b, _, m := connected(t)
	l := startLogind(t, b)
	release, err := m.DelayShutdown(t.Context(), "certificates are being renewed")
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	l.change(func() { asked = l.asked })
	if diff := cmp.Diff([]string{"shutdown|kubecertd|certificates are being renewed|delay"}, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	onlyOurs(t, l)
	if !l.held(t) {
		t.Error("the lock is released before release was called")
	}
	release()
	if l.held(t) {
		t.Error("the lock is held after release was called")
	}
	// The number of the descriptor is soon another's.
	another, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = another.Close() }()
	release()
	if _, err := another.Stat(); err != nil {
		t.Errorf("the second release closed what is not its own: %v", err)
	}
}

// onlyOurs demands that no program that is started now inherits the lock: it would
// keep the machine waiting in our place.
func onlyOurs(t *testing.T, l *logind) {
	t.Helper()
	var lock *os.File
	l.change(func() { lock = l.locks[0] })
	want, err := lock.Stat()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, entry := range entries {
		info, err := os.Stat("/proc/self/fd/" + entry.Name())
		if err != nil || !os.SameFile(info, want) {
			continue
		}
		flags, err := os.ReadFile("/proc/self/fdinfo/" + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		var octal uint
		for line := range strings.Lines(string(flags)) {
			if text, ok := strings.CutPrefix(line, "flags:"); ok {
				if _, err := fmt.Sscanf(strings.TrimSpace(text), "%o", &octal); err != nil {
					t.Fatal(err)
				}
			}
		}
		const closeOnExec = 0o2000000
		if found++; octal&closeOnExec == 0 {
			t.Errorf("descriptor %s is inherited by programs (flags %o)", entry.Name(), octal)
		}
	}
	if found < 3 { // both ends of our own and the one that was handed out
		t.Errorf("%d descriptors of the lock are open, want 3", found)
	}
}

func TestDelayShutdownRefused(t *testing.T) {
	b, _, m := connected(t)
	fails := func(what, want string) {
		t.Helper()
		began := time.Now()
		release, err := m.DelayShutdown(t.Context(), "a test")
		if err == nil || !strings.HasPrefix(err.Error(), "a shutdown would not be delayed: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", what, err, want)
		}
		release()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s: it took %s", what, took)
		}
	}
	fails("no logind", "logind does not run on this host: ")
	l := startLogind(t, b)
	l.change(func() {
		l.refuse = dbus.NewError("org.freedesktop.login1.OperationInProgress", []any{"The operation inhibition has been requested for is already running"})
	})
	fails("too late", "logind: The operation inhibition has been requested for is already running")
	l.change(func() { l.hang = make(chan struct{}) })
	fails("logind hangs", "logind does not answer: context deadline exceeded")
	if got, err := m.Stopping(t.Context()); got || err != nil {
		t.Errorf("while logind hangs: stopping %t, %v, want what systemd says", got, err)
	}
	l.change(func() { close(l.hang) })

	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	fails("no bus", "the D-Bus system bus cannot be reached: ")
	path := filepath.Join(t.TempDir(), "hangs")
	hangs, err := net.Listen("unix", path) // takes connections and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hangs.Close() }()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
	fails("the bus hangs", "logind does not answer: context deadline exceeded")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.DelayShutdown(ctx, "a test"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the cancellation", err)
	}
}
