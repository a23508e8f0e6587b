package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Type is what kind of metric a family is.
type Type string

// The types that are used.
const (
	Gauge     Type = "gauge"
	Counter   Type = "counter"
	Histogram Type = "histogram"
)

// Family is one metric with all its series.
type Family struct {
	Name   string
	Type   Type
	Labels []string
	Help   string
}

// x509Labels are those of x509-certificate-exporter, as far as they are about files.
var x509Labels = []string{"filename", "filepath", "embedded_kind", "embedded_key", "serial_number", "issuer_CN", "subject_CN"}

// Families are all metrics there are, in the order of their documentation.
var Families = []Family{
	{"kubecertd_build_info", Gauge, []string{"version", "goversion"}, "Always 1; the labels say what runs."},
	{"kubecertd_look_interval_seconds", Gauge, nil, "The longest time between two looks (check.interval)."},
	{"kubecertd_last_look_timestamp_seconds", Gauge, nil, "When this node was looked at last."},
	{"kubecertd_last_look_success", Gauge, nil, "1 if the last look could see everything, 0 if a part of the node could not be looked at: kubecertd status says which."},

	{"kubecertd_certificate_expiration_timestamp_seconds", Gauge, []string{"name", "kind", "path", "ca"}, "When a certificate ends. Of one in memory there is no path."},
	{"kubecertd_certificate_not_before_timestamp_seconds", Gauge, []string{"name"}, "From when on a certificate is valid."},
	{"kubecertd_certificate_renewal_timestamp_seconds", Gauge, []string{"name"}, "When kubecertd will renew a certificate: when it is due, or when what has failed is tried again. There is none for what kubecertd does not renew."},
	{"kubecertd_certificate_state", Gauge, []string{"name", "state"}, "1 for the state that a certificate is in, 0 for all others."},
	{"kubecertd_certificate_failed_renewals", Gauge, []string{"name"}, "How often in a row the renewal of a certificate has failed, by the records of the runs, also those before the daemon was started."},
	{"kubecertd_ca_expiration_timestamp_seconds", Gauge, []string{"ca"}, "When a CA ends, and everything that it has signed with it. Nobody renews it."},
	{"kubecertd_apiserver_loopback_expiration_timestamp_seconds", Gauge, nil, "When the certificate ends that kube-apiserver keeps in memory for itself. A restart makes a new one."},
	{"kubecertd_watched_certificate_expiration_timestamp_seconds", Gauge, []string{"path"}, "When a certificate of watch.files ends; of more than 500 those that end first."},
	{"kubecertd_watched_certificates", Gauge, []string{"state"}, "How many certificates of watch.files are in a state."},

	{"kubecertd_certificate_loaded_expiration_timestamp_seconds", Gauge, []string{"component", "endpoint"}, "When the certificate ends that a component shows on its port. There is none where the port did not answer."},
	{"kubecertd_component_restart_required", Gauge, []string{"component"}, "1 if a component is to be restarted, or is proven not to have loaded what is on disk."},
	{"kubecertd_component_failed_restarts", Gauge, []string{"component"}, "How often in a row the restart of a component has failed, by the records of the runs."},
	{"kubecertd_component_restart_retry_timestamp_seconds", Gauge, []string{"component"}, "When a restart that has failed is tried again."},
	{"kubecertd_holding_verdict", Gauge, []string{"component", "name", "verdict"}, "1 for what is known about whether a component has loaded a certificate: loaded, stale or unknown; 0 for the others."},

	{"kubecertd_gate_closed", Gauge, []string{"gate"}, "1 if a gate is closed and keeps what is to be done from being done. Gates are only asked when there is something to do."},
	{"kubecertd_held_back", Gauge, nil, "How many renewals and restarts wait beside others that are done, because they are not critical."},
	{"kubecertd_window_open", Gauge, nil, "1 while a maintenance window is open; always where there is none (renew.windows)."},
	{"kubecertd_paused", Gauge, nil, "1 while kubecertd is paused."},
	{"kubecertd_pause_end_timestamp_seconds", Gauge, nil, "When a pause ends by itself. There is none when only kubecertd resume ends it."},
	{"kubecertd_turn_holder_info", Gauge, []string{"holder"}, "Always 1; the control-plane node whose turn it is. There is one only while this node needs the turn."},
	{"kubecertd_turn_since_timestamp_seconds", Gauge, []string{"holder"}, "Since when that node has had the turn."},
	{"kubecertd_turn_failed", Gauge, []string{"holder"}, "1 if the run of that node has failed, so that it keeps the turn until it is repaired."},
	{"kubecertd_clock_trusted", Gauge, nil, "1 if nothing speaks against this host's clock, 0 if it cannot be right, was set, or is to be kept by a time server and is not."},

	{"kubecertd_last_run_timestamp_seconds", Gauge, nil, "When the last run of this daemon ended. There is none before the first."},
	{"kubecertd_last_run_success", Gauge, nil, "1 if the last run of this daemon did all that was planned, 0 if it failed."},
	{"kubecertd_runs_total", Counter, []string{"outcome"}, "Runs of this daemon that have ended, done or failed."},
	{"kubecertd_renewals_total", Counter, []string{"name", "result"}, "Renewals and repairs of a certificate in runs of this daemon, done or failed."},
	{"kubecertd_rollbacks_total", Counter, []string{"name", "result"}, "How often a certificate was put back as it was before, done or failed."},
	{"kubecertd_rollback_pending", Gauge, nil, "1 while a certificate that a run has begun to change could not be put back yet, so that nothing else is done."},
	{"kubecertd_component_restarts_total", Counter, []string{"component", "result"}, "Restarts of a component in runs of this daemon, done or failed."},
	{"kubecertd_component_restart_duration_seconds", Histogram, []string{"component"}, "From the stop of a component until it was healthy again, of restarts that were done."},

	{"x509_cert_not_after", Gauge, x509Labels, "When a certificate on disk ends, as x509-certificate-exporter has it (metrics.x509)."},
	{"x509_cert_not_before", Gauge, x509Labels, "From when on a certificate on disk is valid, as x509-certificate-exporter has it (metrics.x509)."},
	{"x509_cert_expired", Gauge, x509Labels, "1 if a certificate on disk has expired, as x509-certificate-exporter has it (metrics.x509)."},
	{"x509_cert_error", Gauge, x509Labels, "1 if a certificate on disk could not be read, as x509-certificate-exporter has it (metrics.x509)."},
}

// descs are the descriptions of the families, by name.
var descs = func() map[string]*prometheus.Desc {
	all := map[string]*prometheus.Desc{}
	for _, f := range Families {
		all[f.Name] = prometheus.NewDesc(f.Name, f.Help, f.Labels, nil)
	}
	return all
}()

// samples are the series of a look, each once.
type samples struct {
	list []prometheus.Metric
	seen map[string]bool
}

// add adds a series. A second one with the same labels is left out, and so is what no
// series can be: one odd path must not cost all the others.
func (s *samples) add(family string, value float64, labels ...string) {
	key := family
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "\uFFFD")
		key += "\x00" + labels[i]
	}
	metric, err := prometheus.NewConstMetric(descs[family], prometheus.GaugeValue, value, labels...)
	if err != nil || s.seen[key] {
		return
	}
	s.seen[key] = true
	s.list = append(s.list, metric)
}

// time adds a series with a time; none where there is no time.
func (s *samples) time(family string, at time.Time, labels ...string) {
	if !at.IsZero() {
		s.add(family, seconds(at), labels...)
	}
}

// truth adds a series that is 1 or 0.
func (s *samples) truth(family string, is bool, labels ...string) {
	value := 0.0
	if is {
		value = 1
	}
	s.add(family, value, labels...)
}

// seconds is a time as Prometheus writes it.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
