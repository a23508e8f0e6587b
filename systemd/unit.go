package systemd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	godbus "github.com/godbus/dbus/v5"
)

// Unit is the state of one unit, in systemd's own words (org.freedesktop.systemd1(5)).
type Unit struct {
	Name string
	// LoadState is "loaded", or "not-found", "masked", "bad-setting", …
	LoadState string
	// ActiveState is "active", "activating", "deactivating", "inactive" or "failed";
	// SubState refines it: "running", "auto-restart", …
	ActiveState, SubState string
	// InvocationID changes with every start. 32 hexadecimal digits, empty before the
	// first.
	InvocationID string
	// MainPID is 0 when no main process runs.
	MainPID int
	// ActiveSince is when the unit last became active, by the wall clock of that
	// moment; zero for never.
	ActiveSince time.Time
	// Result says how the last run of the service ended: "success", "exit-code",
	// "signal", "timeout", "watchdog", …
	Result string
	// NRestarts counts the automatic restarts since the unit was last started by
	// somebody.
	NRestarts uint32

	job uint32 // the number of the job that is queued for it; 0 for none
}

// Unit asks for the state of a unit such as "kubelet.service". A unit that does not
// exist is no error: its LoadState is "not-found".
func (m *Manager) Unit(ctx context.Context, name string) (Unit, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		l, fresh, err := m.connection(ctx)
		if err != nil {
			return Unit{}, fmt.Errorf("state of %s: %w", name, err)
		}
		properties, err := l.conn.GetAllPropertiesContext(ctx, name)
		if err == nil {
			return unitOf(name, properties), nil
		}
		if l.lost(err) {
			m.drop(l)
			// The bus may have been restarted since the connection was made.
			if !fresh && ctx.Err() == nil {
				continue
			}
		}
		return Unit{}, fmt.Errorf("state of %s: systemd: %w", name, err)
	}
}

func unitOf(name string, properties map[string]any) Unit {
	u := Unit{
		Name:        name,
		LoadState:   property[string](properties, "LoadState"),
		ActiveState: property[string](properties, "ActiveState"),
		SubState:    property[string](properties, "SubState"),
		// An array of 16 bytes, empty before the first start.
		InvocationID: hex.EncodeToString(property[[]byte](properties, "InvocationID")),
		MainPID:      int(property[uint32](properties, "MainPID")),
		Result:       property[string](properties, "Result"),
		NRestarts:    property[uint32](properties, "NRestarts"),
	}
	if microseconds := property[uint64](properties, "ActiveEnterTimestamp"); microseconds > 0 {
		u.ActiveSince = time.UnixMicro(int64(microseconds))
	}
	// A pair of number and object path.
	if job := property[[]any](properties, "Job"); len(job) > 0 {
		u.job, _ = job[0].(uint32)
	}
	return u
}

// property returns the zero value for what this version of systemd does not have.
func property[T any](properties map[string]any, name string) T {
	value, _ := properties[name].(T)
	return value
}

// busError says whether an error comes from the bus or the connection and not from
// systemd itself.
func busError(err error) bool {
	if errors.Is(err, godbus.ErrClosed) {
		return true
	}
	var answer godbus.Error
	if !errors.As(err, &answer) {
		return true
	}
	switch strings.TrimPrefix(answer.Name, "org.freedesktop.DBus.Error.") {
	case "ServiceUnknown", "NameHasNoOwner", "NoReply", "Disconnected", "NoServer", "Timeout", "TimedOut":
		return true
	}
	return false
}
