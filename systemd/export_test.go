package systemd

import (
	"context"
	"io"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap/zapcore"
)

// ConnectThrough connects in one of the ways given, by name.
func ConnectThrough(ctx context.Context, names []string, dials ...func(context.Context) (*dbus.Conn, error)) (*Manager, error) {
	var ways []way
	for i, dial := range dials {
		ways = append(ways, way{names[i], dial, "look at " + names[i]})
	}
	return connect(ctx, ways)
}

// JournalCore is a journal core with other ends.
func JournalCore(level zapcore.LevelEnabler, send func(string, journal.Priority, map[string]string) error, stderr io.Writer, patience time.Duration) zapcore.Core {
	return &journalCore{LevelEnabler: level, out: &outlet{send: send, stderr: stderr, patience: patience}}
}
