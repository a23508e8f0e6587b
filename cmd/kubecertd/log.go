package main

import (
	"fmt"
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/systemd"
)

// newLogger makes the logger that the configuration asks for. format auto is the
// journal where stderr leads there, JSON for a daemon elsewhere, and lines for
// people otherwise.
func newLogger(c configs.Log, daemon bool) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return nil, usageError{fmt.Errorf("log.level: %w", err)}
	}
	format := c.Format
	if format == "auto" {
		switch {
		case daemon && systemd.UnderJournal():
			format = "journal"
		default:
			format = "console"
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
		core = zapcore.NewCore(zapcore.NewConsoleEncoder(encoding), zapcore.Lock(os.Stderr), level)
	}
	return zap.New(core), nil
}
