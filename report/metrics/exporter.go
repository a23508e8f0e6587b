package metrics

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/renew"
)

// Settings say where the metrics are given out.
type Settings struct {
	Options
	// Listen is an address for Prometheus; empty gives them to nobody.
	Listen string
	// WebConfig is a file with TLS and users, as exporter-toolkit defines it; may be empty.
	WebConfig string
	// Textfile is a file for node_exporter; may be empty.
	Textfile string
}

// Exporter gives out what the loop reports. All its methods belong to the loop's goroutine.
type Exporter struct {
	log      *zap.Logger
	settings Settings
	metrics  *Metrics
	stop     func() // ends the listener; nil where there is none
	told     string // what is wrong with the textfile, so that it is said once
}

// NewExporter makes one that gives out nothing yet.
func NewExporter(log *zap.Logger) *Exporter { return &Exporter{log: log} }

// Apply gives the metrics out as the settings say from now on. What was counted goes on.
func (e *Exporter) Apply(s Settings) {
	old := e.settings
	e.settings = s
	listen := s.Listen != old.Listen || s.WebConfig != old.WebConfig
	if listen {
		e.close()
	}
	switch {
	case s.Listen == "" && s.Textfile == "":
		e.metrics = nil
		return
	case e.metrics == nil:
		e.metrics, listen = New(s.Options), true
	default:
		e.metrics.options = s.Options
	}
	if listen && s.Listen != "" {
		e.serve()
	}
}

// retry is how soon it is tried again to listen.
const retry = 15 * time.Second

// serve begins to listen, in a goroutine that close waits for.
func (e *Exporter) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	server := Server{Listen: e.settings.Listen, WebConfig: e.settings.WebConfig, Metrics: e.metrics, Retry: retry, Log: e.log}
	go func() { defer close(ended); server.Run(ctx) }()
	e.stop = func() { cancel(); <-ended }
}

// Close ends the listener. The textfile stays: how old it is says what it is worth.
func (e *Exporter) Close() {
	e.close()
	e.settings, e.metrics = Settings{}, nil
}

func (e *Exporter) close() {
	if e.stop != nil {
		e.stop()
		e.stop = nil
	}
}

// Looked shows what a look has seen.
func (e *Exporter) Looked(l renew.Look) {
	if e.metrics != nil {
		e.metrics.Looked(l)
		e.write()
	}
}

// Ran counts what a run has done.
func (e *Exporter) Ran(r renew.Run) {
	if e.metrics != nil {
		e.metrics.Ran(r)
		e.write()
	}
}

// write writes the textfile, so that whoever reads it sees all of it or the one before. It
// need not survive a power cut: the next look writes it anew.
func (e *Exporter) write() {
	if e.settings.Textfile == "" {
		return
	}
	err := prometheus.WriteToTextfile(e.settings.Textfile, e.metrics)
	if err == nil {
		e.told = ""
		return
	}
	// The name of the temporary file is another one each time.
	if text := reason(err); text != e.told {
		e.told = text
		e.log.Error("the metrics are not written", zap.String("message_id", renew.EventNotice), zap.String("path", e.settings.Textfile),
			zap.Error(fmt.Errorf("metrics.textfile: %w: its directory has to be there, and the unit has to allow writing to it (ReadWritePaths=, systemctl edit kubecertd)", err)))
	}
}
