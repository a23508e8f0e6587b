package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	godbus "github.com/godbus/dbus/v5"
)

const (
	// logindTimeout bounds what is asked of logind, the way to it included. It has
	// something to say on few nodes; where it hangs, one goes on without.
	logindTimeout = 2 * time.Second

	logind        = "org.freedesktop.login1"
	logindPath    = "/org/freedesktop/login1"
	logindManager = "org.freedesktop.login1.Manager"
	shutdownUnit  = "shutdown.target"
)

// Stopping says whether the machine is shutting down or about to: systemd stops
// units, or has it queued, or logind is giving those who asked for a delay their time.
// An error means that systemd cannot be asked; a node without logind is none.
func (m *Manager) Stopping(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		l, fresh, err := m.connection(ctx)
		if err != nil {
			return false, fmt.Errorf("whether the machine is shutting down: %w", err)
		}
		stopping, err := l.stopping(ctx)
		if err == nil {
			return stopping || preparing(ctx), nil
		}
		if l.lost(err) {
			m.drop(l)
			if !fresh && ctx.Err() == nil {
				continue
			}
		}
		return false, fmt.Errorf("whether the machine is shutting down: systemd: %w", err)
	}
}

func (l *link) stopping(ctx context.Context) (bool, error) {
	state, err := l.conn.SystemStateContext(ctx)
	if err != nil {
		return false, err
	}
	switch s, _ := state.Value.Value().(string); s {
	case "stopping":
		return true, nil
	case "running", "degraded", "maintenance":
		return false, nil
	}
	// Until it has started, systemd says so whatever is queued (systemd:
	// core/manager.c, manager_state).
	jobs, err := l.conn.ListJobsContext(ctx)
	if err != nil {
		return false, err
	}
	for _, job := range jobs {
		if job.Unit == shutdownUnit && job.JobType == "start" {
			return true, nil
		}
	}
	return false, nil
}

// preparing asks logind, which knows of a shutdown up to InhibitDelayMaxSec= (5 s)
// before systemd does. Where it cannot be asked, there is no such time either.
func preparing(ctx context.Context) bool {
	var value godbus.Variant
	err := onBus(ctx, func(ctx context.Context, object godbus.BusObject) error {
		return object.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", godbus.FlagNoAutoStart, logindManager, "PreparingForShutdown").Store(&value)
	})
	yes, _ := value.Value().(bool)
	return err == nil && yes
}

// DelayShutdown has logind delay a shutdown of the machine until release is called,
// or this process ends, or InhibitDelayMaxSec= of logind.conf is over (5 s unless the
// operator set more). why is what `systemd-inhibit --list` shows. release may be
// called more than once.
//
// On a node without logind, or when the shutdown has begun, there is an error and
// nothing to release; release may be called all the same. Nobody but logind can be
// asked, and what is done in the meantime has to survive a power cut in any case.
func (m *Manager) DelayShutdown(ctx context.Context, why string) (release func(), err error) {
	var fd godbus.UnixFD
	err = onBus(ctx, func(ctx context.Context, object godbus.BusObject) error {
		return object.CallWithContext(ctx, logindManager+".Inhibit", godbus.FlagNoAutoStart, "shutdown", "kubecertd", why, "delay").Store(&fd)
	})
	if err != nil {
		return func() {}, fmt.Errorf("a shutdown would not be delayed: %w", err)
	}
	// The lock is the descriptor, whoever has it. Go receives it close-on-exec, so that
	// no program that we start keeps the machine waiting.
	lock := os.NewFile(uintptr(fd), "logind inhibitor")
	var once sync.Once
	return func() { once.Do(func() { _ = lock.Close() }) }, nil
}

// onBus asks logind something over the system bus, on a connection of its own: the
// manager's may be systemd's private socket, where nobody else is.
func onBus(ctx context.Context, ask func(context.Context, godbus.BusObject) error) error {
	ctx, cancel := context.WithTimeout(ctx, logindTimeout)
	defer cancel()
	// The library's first words on a connection have no deadline; the end of this
	// context ends the connection.
	conn, err := godbus.ConnectSystemBus(godbus.WithContext(ctx))
	if err == nil {
		defer func() { _ = conn.Close() }()
		err = ask(ctx, conn.Object(logind, logindPath))
	}
	var answer godbus.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("logind does not answer: %w: systemctl status systemd-logind dbus", ctx.Err())
	case conn == nil:
		return fmt.Errorf("the D-Bus system bus cannot be reached: %w: systemctl status dbus", err)
	case errors.As(err, &answer) && (answer.Name == "org.freedesktop.DBus.Error.ServiceUnknown" || answer.Name == "org.freedesktop.DBus.Error.NameHasNoOwner"):
		return fmt.Errorf("logind does not run on this host: %w: systemctl status systemd-logind", err)
	}
	return fmt.Errorf("logind: %w", err)
}
