package metrics

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// states are all that a certificate can be in.
var states = []pki.State{pki.OK, pki.Due, pki.Expired, pki.Missing, pki.External, pki.Invalid, pki.Unknown}

// verdicts are all that can be known about a holding.
var verdicts = []renew.Verdict{renew.Loaded, renew.Stale, renew.Unknown}

// mostWatched is how many watched certificates have a series of their own.
const mostWatched = 500

// look adds what a look has seen and decided.
func (s *samples) look(l renew.Look) {
	o := l.Observation
	s.time("kubecertd_last_look_timestamp_seconds", o.At)
	s.truth("kubecertd_last_look_success", len(o.Problems) == 0)
	var watched []pki.Certificate
	counts := map[pki.State]int{}
	for i, c := range o.Certificates {
		d := renew.Decision{State: c.State}
		if i < len(l.Plan.Decisions) {
			d = l.Plan.Decisions[i].Decision
		}
		if c.Watched {
			watched = append(watched, c)
			counts[d.State]++
			continue
		}
		s.certificate(c, d)
	}
	s.watched(watched, counts)
	s.failures(o.Failures)
	s.components(l)
	s.waiting(l)
	s.truth("kubecertd_clock_trusted", o.Clock == renew.Clock{})
}

// certificate adds one of the node's own certificates.
func (s *samples) certificate(c pki.Certificate, d renew.Decision) {
	s.time("kubecertd_certificate_expiration_timestamp_seconds", c.NotAfter, c.Name, string(c.Kind), c.Path, c.CA)
	s.time("kubecertd_certificate_not_before_timestamp_seconds", c.NotBefore, c.Name)
	s.time("kubecertd_certificate_renewal_timestamp_seconds", d.At, c.Name)
	for _, state := range states {
		s.truth("kubecertd_certificate_state", d.State == state, c.Name, string(state))
	}
	switch {
	case c.Kind == pki.CA:
		s.time("kubecertd_ca_expiration_timestamp_seconds", c.NotAfter, c.Name)
	case c.Name == pki.Loopback:
		s.time("kubecertd_apiserver_loopback_expiration_timestamp_seconds", c.NotAfter)
	}
}

// watched adds those that are only watched: they may be thousands.
func (s *samples) watched(certificates []pki.Certificate, counts map[pki.State]int) {
	if len(certificates) == 0 {
		return
	}
	for _, state := range states {
		s.add("kubecertd_watched_certificates", float64(counts[state]), string(state))
	}
	certificates = slices.DeleteFunc(certificates, func(c pki.Certificate) bool { return c.NotAfter.IsZero() })
	slices.SortStableFunc(certificates, func(a, b pki.Certificate) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), strings.Compare(a.Name, b.Name))
	})
	for _, c := range certificates[:min(len(certificates), mostWatched)] {
		s.time("kubecertd_watched_certificate_expiration_timestamp_seconds", c.NotAfter, c.Name)
	}
}

// failures adds what has failed, and is tried again.
func (s *samples) failures(failures map[string]renew.Failure) {
	for step, f := range failures {
		if name, ok := strings.CutPrefix(step, "renew "); ok {
			s.add("kubecertd_certificate_failed_renewals", float64(f.Count), name)
		}
		if name, ok := strings.CutPrefix(step, "restart "); ok {
			s.add("kubecertd_component_failed_restarts", float64(f.Count), name)
		}
	}
}

// components adds what the components have loaded.
func (s *samples) components(l renew.Look) {
	stale := l.Stale()
	for _, c := range l.Observation.Components {
		restart := slices.ContainsFunc(l.Plan.Restart, func(r renew.Restart) bool { return r.Component == c.Name })
		s.truth("kubecertd_component_restart_required", restart || slices.Contains(stale, c.Name), c.Name)
	}
	for _, served := range l.Observation.Served {
		s.time("kubecertd_certificate_loaded_expiration_timestamp_seconds", served.NotAfter, served.Endpoint.Component, served.Endpoint.Name)
	}
	for _, p := range l.Proofs {
		for _, verdict := range verdicts {
			s.truth("kubecertd_holding_verdict", p.Verdict == verdict, p.Component, p.Certificate, string(verdict))
		}
	}
}

// waiting adds what is waited for.
func (s *samples) waiting(l renew.Look) {
	for _, gate := range renew.GateNames {
		s.truth("kubecertd_gate_closed", slices.ContainsFunc(l.Plan.Blocked, func(g renew.Gate) bool { return g.Kind() == gate }), gate)
	}
	held := 0
	for _, n := range l.Plan.Notices {
		switch n.ID {
		case renew.NoticeHeld:
			held++
		case renew.NoticeRestartFailed:
			s.time("kubecertd_component_restart_retry_timestamp_seconds", n.At, n.About)
		}
	}
	s.add("kubecertd_held_back", float64(held))
	s.truth("kubecertd_rollback_pending", l.Owes)
	s.truth("kubecertd_window_open", l.Window)
	s.truth("kubecertd_paused", l.Plan.Paused != nil)
	if p := l.Plan.Paused; p != nil {
		s.time("kubecertd_pause_end_timestamp_seconds", p.Until)
	}
	if t := l.Plan.Turn; t != nil && t.Holder != "" {
		s.add("kubecertd_turn_holder_info", 1, t.Holder)
		s.time("kubecertd_turn_since_timestamp_seconds", t.Since, t.Holder)
		s.truth("kubecertd_turn_failed", t.Failed != "", t.Holder)
	}
}
