package renew_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// margin is that of the shipped configuration.
var margin = renew.Margin{Before: 3 * day, Share: 0.1}

func TestCritical(t *testing.T) {
	year := func(remaining time.Duration) pki.Certificate {
		return leaf(now.Add(remaining-365*day), now.Add(remaining))
	}
	with := func(c pki.Certificate, change func(*pki.Certificate)) pki.Certificate {
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name     string
		margin   renew.Margin
		cert     pki.Certificate
		critical bool
		reason   string
	}{
		{"due, and far from its end", margin, year(20 * day), false, ""},
		{"a second before the margin", margin, year(3*day + time.Second), false, ""},
		{"at the margin", margin, year(3 * day), true, "apiserver expires in 3d0h, critical are the last 3d0h"},
		{"of a day, in its last tenth", margin, leaf(now.Add(-22*time.Hour), now.Add(2*time.Hour)), true, "critical are the last 2h24m"},
		{"of a day, before its last tenth", margin, leaf(now.Add(-20*time.Hour), now.Add(4*time.Hour)), false, ""},
		{"a margin longer than the certificate lives", renew.Margin{Before: 3 * day}, leaf(now.Add(-8*time.Hour), now.Add(16*time.Hour)), false, ""},
		{"expired", margin, with(year(-2*day), func(c *pki.Certificate) { c.State = pki.Expired }), true, "apiserver expired 2d"},
		{"expired, without a margin", renew.Margin{}, with(year(-2*day), func(c *pki.Certificate) { c.State = pki.Expired }), true, "expired 2d"},
		{"without a margin", renew.Margin{}, year(time.Minute), false, ""},
		{"its key is another's", margin, with(year(200*day), func(c *pki.Certificate) { c.State = pki.Invalid }), true, "apiserver is invalid"},
		{"missing", margin, pki.Certificate{Name: "apiserver", State: pki.Missing}, true, "apiserver is missing"},
		{"nobody knows its end", margin, pki.Certificate{Name: "apiserver", State: pki.Unknown}, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			critical, reason := renew.Policy{Margin: tt.margin}.Critical(tt.cert, now)
			if critical != tt.critical || !strings.Contains(reason, tt.reason) || (reason == "") == critical {
				t.Errorf("%t, %q; want %t, %q", critical, reason, tt.critical, tt.reason)
			}
		})
	}
}

// Of a component that is only to be restarted, what its process still holds decides, not
// what is on disk.
func TestUrgent(t *testing.T) {
	// old is what the process has read at its start, 99 days ago.
	old := func(o *renew.Observation, name string, notAfter time.Time) {
		c, _ := o.Certificate(name)
		o.Contents = map[string][]renew.Content{name: {
			{SHA256: "old", Since: now.Add(-300 * day), NotAfter: notAfter},
			{SHA256: c.SHA256, Since: now.Add(-time.Hour), NotAfter: c.NotAfter},
		}}
	}
	for _, tt := range []struct {
		name   string
		change func(*renew.Observation)
		urgent string // empty: it can wait
	}{
		{"nothing to do", func(*renew.Observation) {}, ""},
		{"due", func(o *renew.Observation) { certificate(o, "scheduler.conf", due) }, ""},
		{"one of two is critical", func(o *renew.Observation) {
			certificate(o, "apiserver", due)
			certificate(o, "scheduler.conf", func(c *pki.Certificate) { c.NotAfter = now.Add(2 * day) })
		}, "scheduler.conf expires in 2d"},
		{"expired", func(o *renew.Observation) { certificate(o, "scheduler.conf", expired) }, "scheduler.conf expired 1d"},
		{"stale, and what it holds is good", func(o *renew.Observation) {
			certificate(o, "scheduler.conf", rewritten)
			old(o, "scheduler.conf", now.Add(20*day))
		}, ""},
		{"stale, and what it holds is critical", func(o *renew.Observation) {
			certificate(o, "scheduler.conf", rewritten)
			old(o, "scheduler.conf", now.Add(day))
		}, "kube-scheduler still holds what it has read before: scheduler.conf expires in 1d"},
		{"stale, and what it holds has expired", func(o *renew.Observation) {
			certificate(o, "scheduler.conf", rewritten)
			old(o, "scheduler.conf", now.Add(-day))
		}, "kube-scheduler still holds what it has read before: scheduler.conf expired 1d"},
		{"stale, and nobody knows what it holds", func(o *renew.Observation) { certificate(o, "scheduler.conf", rewritten) }, ""},
		{"what it serves is near its end", func(o *renew.Observation) {
			certificate(o, "etcd-server", rewritten)
			for i := range o.Served {
				if o.Served[i].Endpoint.Component == renew.Etcd {
					o.Served[i].NotAfter = now.Add(day)
				}
			}
		}, "etcd still holds what it has read before: etcd-server expires in 1d"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := healthy()
			tt.change(&o)
			p := renew.Decide(o, renew.Policy{Before: shipped.Before, Share: shipped.Share, Margin: margin}, renew.Wish{})
			if tt.urgent == "" && p.Urgent != "" || !strings.Contains(p.Urgent, tt.urgent) {
				t.Errorf("urgent %q, want %q", p.Urgent, tt.urgent)
			}
		})
	}
}
