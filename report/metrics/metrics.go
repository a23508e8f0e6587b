// Package metrics is what Prometheus sees of a node, by the names that everybody else
// sees it by. It shows what the last look left, and reads and dials nothing itself.
package metrics

import (
	goruntime "runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/kubecertd/kubecertd/renew"
)

// Options are what the metrics say besides what was seen.
type Options struct {
	// Version is this program's.
	Version string
	// Interval is the longest time between two looks.
	Interval time.Duration
	// X509 adds the family of x509-certificate-exporter.
	X509 bool
}

// Metrics are the metrics of one node. All but Gather belongs to one goroutine, the
// loop's.
type Metrics struct {
	options  Options
	registry *prometheus.Registry
	// last is the last look, as samples; it has none before the first.
	last samples
	runs runs

	// gathered is what scrapes are given. It is made after each look and run, and not for
	// each scrape: between looks nothing changes, and Go's collector rests (renew.Loop).
	gathered atomic.Pointer[gathered]
}

type gathered struct {
	families []*dto.MetricFamily
	err      error
}

// New makes the metrics of a node that nobody has looked at yet.
func New(o Options) *Metrics {
	m := &Metrics{options: o, registry: prometheus.NewRegistry(), runs: newRuns()}
	m.registry.MustRegister(looked{m})
	m.registry.MustRegister(m.runs.collectors()...)
	m.last = m.samples(renew.Look{})
	m.publish()
	return m
}

// Looked shows what a look has seen, and nothing of the look before.
func (m *Metrics) Looked(l renew.Look) {
	m.last = m.samples(l)
	m.runs.expect(l)
	m.publish()
}

// Ran counts what a run has done.
func (m *Metrics) Ran(r renew.Run) {
	m.runs.count(r)
	m.publish()
}

// Gather is what a scrape is given (prometheus.Gatherer).
func (m *Metrics) Gather() ([]*dto.MetricFamily, error) {
	g := m.gathered.Load()
	return g.families, g.err
}

func (m *Metrics) publish() {
	families, err := m.registry.Gather()
	m.gathered.Store(&gathered{families, err})
}

// samples are the samples of a look; of none, where nobody has looked yet.
func (m *Metrics) samples(l renew.Look) samples {
	s := samples{seen: map[string]bool{}}
	s.add("kubecertd_build_info", 1, m.options.Version, goruntime.Version())
	s.add("kubecertd_look_interval_seconds", m.options.Interval.Seconds())
	if l.Observation.At.IsZero() {
		return s
	}
	s.look(l)
	if m.options.X509 {
		s.x509(l.Observation)
	}
	return s
}

// looked is the last look as a prometheus.Collector.
type looked struct{ *Metrics }

func (l looked) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range Families {
		if f.Type == Gauge {
			ch <- descs[f.Name]
		}
	}
}

func (l looked) Collect(ch chan<- prometheus.Metric) {
	for _, s := range slices.Concat(l.last.list, l.runs.last.list) {
		ch <- s
	}
}
