package renew_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// withMemory adds the certificates in memory of processes that started 99 days ago.
func withMemory(o *renew.Observation) {
	for _, m := range []struct {
		name, component string
		life            time.Duration
	}{{pki.Loopback, renew.APIServer, 3 * 365 * day}, {pki.ControllerManagerServing, renew.ControllerManager, 365 * day},
		{pki.SchedulerServing, renew.Scheduler, 365 * day}} {
		c := leaf(now.Add(-99*day-time.Hour), now.Add(m.life-99*day-time.Hour))
		c.Name, c.Kind, c.Renewer, c.Component, c.Address, c.SHA256 = m.name, pki.Memory, pki.Restart, m.component, "127.0.0.1:1", m.name+"-sha256"
		c.Issued = now.Add(-99 * day)
		o.Certificates = append(o.Certificates, c)
	}
}

// A certificate in memory is cured by a restart of its component, and of no other; and
// never by one that would not cure it.
func TestDecideInMemory(t *testing.T) {
	failed := func(count int, ago time.Duration) func(*renew.Observation) {
		return func(o *renew.Observation) {
			certificate(o, pki.SchedulerServing, due)
			o.Failures = map[string]renew.Failure{"renew scheduler-serving": {Count: count, Run: "r", Last: now.Add(-ago), Error: "it is new and due"}}
		}
	}
	everything := renew.Policy{Before: shipped.Before, Share: shipped.Share, Retry: renew.Retry{After: time.Minute, Limit: 4 * time.Hour}}
	with := func(p renew.RestartPolicies) renew.Policy {
		changed := everything
		changed.Restart = p
		return changed
	}
	tests := []struct {
		name    string
		policy  renew.Policy
		change  func(*renew.Observation)
		restart []string
		notice  string // in the notices; empty: none
		next    string // begins Plan.NextReason
	}{
		{"nothing is due", everything, func(o *renew.Observation) {
			certificate(o, pki.Loopback, func(c *pki.Certificate) { c.NotAfter = now.Add(31 * day) })
		}, nil, "", "apiserver-loopback becomes due"},
		{"the loopback certificate", everything, func(o *renew.Observation) { certificate(o, pki.Loopback, due) }, []string{renew.APIServer}, "", ""},
		{"also with auto", with(renew.RestartPolicies{Default: renew.RestartAuto}),
			func(o *renew.Observation) { certificate(o, pki.Loopback, due) }, []string{renew.APIServer}, "", ""},
		{"two of them", everything, func(o *renew.Observation) {
			certificate(o, pki.ControllerManagerServing, due)
			certificate(o, pki.SchedulerServing, expired)
		}, []string{renew.ControllerManager, renew.Scheduler}, "", ""},
		{"with never it is said", with(renew.RestartPolicies{Default: renew.RestartNever}),
			func(o *renew.Observation) { certificate(o, pki.Loopback, due) }, nil, "apiserver-loopback of kube-apiserver expires in 10d, only a restart makes a new one; it is not to be restarted", ""},
		{"an override", with(renew.RestartPolicies{Default: renew.RestartNever, Of: map[string]renew.RestartPolicy{renew.Scheduler: renew.RestartAlways}}),
			func(o *renew.Observation) {
				certificate(o, pki.SchedulerServing, due)
				certificate(o, pki.ControllerManagerServing, due)
			}, []string{renew.Scheduler}, "controller-manager-serving", ""},
		// Another restart would make another that is due.
		{"one that is due right after its start", everything, func(o *renew.Observation) {
			certificate(o, pki.Loopback, func(c *pki.Certificate) {
				c.Issued, c.NotBefore, c.NotAfter = now.Add(-time.Hour), now.Add(-2*time.Hour), now.Add(time.Minute)
			})
		}, nil, "was made only 1h0m ago", "apiserver-loopback is tried again"},
		{"one made by a clock that was ahead", everything, func(o *renew.Observation) {
			certificate(o, pki.Loopback, func(c *pki.Certificate) {
				c.Issued, c.NotBefore, c.NotAfter, c.State = now.Add(time.Hour), now.Add(-time.Hour), now.Add(-time.Minute), pki.Expired
			})
		}, nil, "is the clock right?", ""},
		{"one that a restart has not cured", everything, failed(1, time.Second), nil, "its restart failed once", "scheduler-serving is tried again"},
		{"is tried again later", everything, failed(1, time.Hour), []string{renew.Scheduler}, "", ""},
		{"but not for ever", everything, failed(2, 90*day), nil, "2 restarts have not cured it", ""},
		{"a process that did not answer", everything, func(o *renew.Observation) {
			certificate(o, pki.Loopback, func(c *pki.Certificate) {
				*c = pki.Certificate{Name: c.Name, Kind: c.Kind, Renewer: c.Renewer, Component: c.Component, State: pki.Unknown, Reason: "no answer"}
			})
		}, nil, "", ""},
		{"a component that does not run", everything, func(o *renew.Observation) {
			certificate(o, pki.SchedulerServing, due)
			component(o, renew.Scheduler, func(c *renew.Component) { c.Running = false })
		}, nil, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := healthy()
			withMemory(&o)
			tt.change(&o)
			p := renew.Decide(o, tt.policy, renew.Wish{})
			var restarts []string
			for _, r := range p.Restart {
				restarts = append(restarts, r.Component)
				if !strings.Contains(r.Reason, "only a restart makes a new one") {
					t.Errorf("%s is restarted because %q", r.Component, r.Reason)
				}
			}
			if !slices.Equal(restarts, tt.restart) || len(p.Renew) > 0 {
				t.Errorf("restarts %v and renews %v, want to restart %v", restarts, p.Renew, tt.restart)
			}
			if notices := p.Notices.String(); (notices == "") != (tt.notice == "") || !strings.Contains(notices, tt.notice) {
				t.Errorf("notices %q, want %q", notices, tt.notice)
			}
			if !strings.HasPrefix(p.NextReason, tt.next) || !p.Next.IsZero() && !p.Next.After(now) {
				t.Errorf("next: %s at %s, want %q in the future", p.NextReason, p.Next, tt.next)
			}
			if len(p.Restart) == 0 && len(p.Blocked) > 0 {
				t.Errorf("blocked without work: %v", p.Blocked)
			}
		})
	}
}
