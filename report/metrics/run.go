package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// What a step came to.
const (
	done   = "done"
	failed = "failed"
)

// buckets are from a restart that nobody notices to the longest that is waited for.
var buckets = []float64{0.5, 1, 2, 5, 10, 20, 30, 60, 120, 240, 480}

// runs count what the runs of this daemon have done. They begin at zero with it.
type runs struct {
	last                                   samples // of the last run; none before the first
	outcomes, renewals, rollbacks, restart *prometheus.CounterVec
	duration                               *prometheus.HistogramVec
	// expected are the certificates and components that have series.
	expected map[expected]bool
}

// expected is something that may be renewed, or restarted.
type expected struct {
	name      string
	component bool
}

func newRuns() runs {
	opts := map[string]prometheus.Opts{}
	labels := map[string][]string{}
	for _, f := range Families {
		opts[f.Name], labels[f.Name] = prometheus.Opts{Name: f.Name, Help: f.Help}, f.Labels
	}
	counter := func(name string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts[name]), labels[name])
	}
	const duration = "kubecertd_component_restart_duration_seconds"
	r := runs{
		outcomes: counter("kubecertd_runs_total"), renewals: counter("kubecertd_renewals_total"),
		rollbacks: counter("kubecertd_rollbacks_total"), restart: counter("kubecertd_component_restarts_total"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: duration, Help: opts[duration].Help, Buckets: buckets}, labels[duration]),
		expected: map[expected]bool{},
	}
	begin(r.outcomes)
	return r
}

// begin makes the series of a counter, so that its first increase is seen as one.
func begin(c *prometheus.CounterVec, labels ...string) {
	for _, result := range []string{done, failed} {
		c.WithLabelValues(append(labels[:len(labels):len(labels)], result)...)
	}
}

func (r runs) collectors() []prometheus.Collector {
	return []prometheus.Collector{r.outcomes, r.renewals, r.rollbacks, r.restart, r.duration}
}

// expect begins the series of what may be renewed and restarted on this node, and ends
// those of what is not there any more.
func (r runs) expect(l renew.Look) {
	here := map[expected]bool{}
	for _, c := range l.Observation.Certificates {
		if c.Watched {
			continue
		}
		here[expected{c.Name, false}] = true
		if c.Renewer == pki.Kubeadm || c.Renewer == pki.Kubelet {
			r.expected[expected{c.Name, false}] = true
			begin(r.renewals, c.Name)
			begin(r.rollbacks, c.Name)
		}
	}
	for _, name := range renew.Order {
		here[expected{name, true}] = true // also while it is down, and cannot be seen
	}
	for _, c := range l.Observation.Components {
		here[expected{c.Name, true}], r.expected[expected{c.Name, true}] = true, true
		begin(r.restart, c.Name)
	}
	if len(l.Observation.Problems) > 0 {
		return // what could not be seen may still be there
	}
	for e := range r.expected {
		if here[e] {
			continue
		}
		delete(r.expected, e)
		if e.component {
			r.restart.DeletePartialMatch(prometheus.Labels{"component": e.name})
			r.duration.DeletePartialMatch(prometheus.Labels{"component": e.name})
		} else {
			r.renewals.DeletePartialMatch(prometheus.Labels{"name": e.name})
			r.rollbacks.DeletePartialMatch(prometheus.Labels{"name": e.name})
		}
	}
}

// count counts a run that has ended.
func (r *runs) count(run renew.Run) {
	outcome := failed
	if run.Outcome == renew.Done {
		outcome = done
	}
	r.outcomes.WithLabelValues(outcome).Inc()
	r.last = samples{seen: map[string]bool{}}
	r.last.time("kubecertd_last_run_timestamp_seconds", run.Ended)
	r.last.truth("kubecertd_last_run_success", outcome == done)
	for step, last := range run.Results() {
		if name, ok := strings.CutPrefix(step, "renew "); ok {
			r.expected[expected{name, false}] = true
			r.renewals.WithLabelValues(name, result(last)).Inc()
		}
		// Who left by itself was not restarted by the run.
		if name, ok := strings.CutPrefix(step, "restart "); ok && last.Reason != renew.ByItself {
			r.expected[expected{name, true}] = true
			r.restart.WithLabelValues(name, result(last)).Inc()
		}
	}
	began := map[string]time.Time{}
	for _, e := range run.Entries {
		if e.Event == "begin" {
			began[e.Step] = e.Time
			continue
		}
		at, here := began[e.Step]
		if name, ok := strings.CutPrefix(e.Step, "restart "); ok && here && e.Error == "" {
			r.duration.WithLabelValues(name).Observe(e.Time.Sub(at).Seconds())
		}
		if name, ok := strings.CutPrefix(e.Step, "put back "); ok {
			r.expected[expected{name, false}] = true
			r.rollbacks.WithLabelValues(name, result(e)).Inc()
		}
	}
}

func result(e renew.Entry) string {
	if e.Error != "" {
		return failed
	}
	return done
}
