package main

import (
	"fmt"
	"os"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/systemd"
)

// newLogger makes the logger that the configuration asks for. format auto is the
// journal for a daemon whose stderr leads there, and lines for people otherwise.
func newLogger(c configs.Log, daemon bool) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return nil, usageError{fmt.Errorf("log.level: %w", err)}
	}
	format := c.Format
	if format == "auto" {
		format = "console"
		if daemon && systemd.UnderJournal() {
			format = "journal"
		}
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.ISO8601TimeEncoder
	encoding.EncodeDuration = zapcore.StringDurationEncoder
	var core zapcore.Core
	switch format {
	case "journal":
		core = systemd.NewJournalCore(level)
	case "json":
		core = zapcore.NewCore(zapcore.NewJSONEncoder(encoding), zapcore.Lock(os.Stderr), level)
	default:
		encoding.EncodeLevel = zapcore.CapitalLevelEncoder
		core = forPeople{zapcore.NewCore(zapcore.NewConsoleEncoder(encoding), zapcore.Lock(os.Stderr), level)}
	}
	return zap.New(core), nil
}

// forPeople leaves out of each line what only programs read.
type forPeople struct{ zapcore.Core }

// With returns the core with fields of its own.
func (c forPeople) With(fields []zapcore.Field) zapcore.Core {
	return forPeople{c.Core.With(readable(fields))}
}

// Check puts this core, not the one inside, in charge of a line.
func (c forPeople) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write writes a line.
func (c forPeople) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return c.Core.Write(e, readable(fields))
}

func readable(fields []zapcore.Field) []zapcore.Field {
	return slices.DeleteFunc(slices.Clone(fields), func(f zapcore.Field) bool { return f.Key == "message_id" || f.Key == "run_id" })
}
