package renew_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// What can wait is held back by a window and by a clock that nobody keeps or that was set,
// what cannot is not; and what is asked for by name waits for no window.
func TestHold(t *testing.T) {
	// now is a Sunday noon.
	nights := renew.Windows{Open: []renew.Window{{Days: days(1, 2, 3, 4, 5), From: time.Hour, To: 5 * time.Hour}}}
	open := renew.Windows{Open: []renew.Window{{Days: everyDay, From: 11 * time.Hour, To: 13 * time.Hour}}}
	unkept := func(o *renew.Observation) { o.Clock.Unkept = "no time server keeps this host's clock" }
	set := func(by time.Duration) func(*renew.Observation) {
		return func(o *renew.Observation) {
			o.Clock.Reckoned, o.Clock.Until = o.At.Add(-by), o.At.Add(by.Abs())
		}
	}
	critical := func(c *pki.Certificate) { c.NotAfter = now.Add(2 * day) }
	longExpired := func(c *pki.Certificate) {
		c.NotAfter, c.State, c.Reason = now.Add(-3*365*day), pki.Expired, "expired"
	}
	for _, tt := range []struct {
		name    string
		windows renew.Windows
		change  func(*renew.Observation)
		wish    renew.Wish
		renew   []string
		restart []string
		blocked []string
		next    time.Time // zero: not asked
		says    string    // in a gate or a notice
	}{
		{name: "in the window", windows: open, change: func(o *renew.Observation) { certificate(o, "scheduler.conf", due) },
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}},
		{name: "outside", windows: nights, change: func(o *renew.Observation) { certificate(o, "scheduler.conf", due) },
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}, blocked: []string{"window"}, next: now.Add(13 * time.Hour),
			says: "the next maintenance window opens Mon 2026-03-02 01:00 UTC, in 13h0m"},
		{name: "outside, and it becomes critical before the window", windows: renew.Windows{Open: []renew.Window{{Days: days(6), To: time.Hour}}},
			change: func(o *renew.Observation) {
				certificate(o, "scheduler.conf", func(c *pki.Certificate) { c.NotAfter = now.Add(4 * day) })
			},
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}, blocked: []string{"window"}, next: now.Add(day)},
		{name: "outside, critical", windows: nights, change: func(o *renew.Observation) { certificate(o, "scheduler.conf", critical) },
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}},
		{name: "outside, only one of two is critical", windows: nights, change: func(o *renew.Observation) {
			certificate(o, "apiserver", due)
			certificate(o, "scheduler.conf", critical)
		}, renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}, says: "apiserver: expires in 10d, renewed from 30d before the end on; it waits: the next maintenance window"},
		{name: "outside, stale", windows: nights, change: func(o *renew.Observation) { certificate(o, "scheduler.conf", rewritten) },
			restart: []string{"kube-scheduler"}, blocked: []string{"window"}},
		{name: "outside, one is stale and another is critical", windows: nights, change: func(o *renew.Observation) {
			certificate(o, "controller-manager.conf", rewritten)
			certificate(o, "scheduler.conf", critical)
		}, renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}, says: "the restart of kube-controller-manager waits"},
		{name: "outside, nothing to do", windows: nights, change: func(*renew.Observation) {}},
		{name: "outside, asked for by name", windows: nights, change: func(*renew.Observation) {}, wish: renew.Wish{Names: []string{"scheduler.conf"}},
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}},

		{name: "nobody keeps the clock", change: func(o *renew.Observation) { unkept(o); certificate(o, "scheduler.conf", due) },
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}, blocked: []string{"clock"}, next: now.Add(7 * day), says: "clock.requireSync"},
		{name: "nobody keeps the clock, critical", change: func(o *renew.Observation) { unkept(o); certificate(o, "scheduler.conf", critical) },
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}},
		{name: "nobody keeps the clock, asked for by name", change: unkept, wish: renew.Wish{Names: []string{"scheduler.conf"}},
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}, blocked: []string{"clock"}},

		{name: "the clock was set two years forwards", change: func(o *renew.Observation) { set(2 * 365 * day)(o); certificate(o, "scheduler.conf", expired) },
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}, blocked: []string{"clock"}, says: "would show 2024-03-01 12:00:00 UTC by the kernel's boot clock"},
		{name: "the clock was set back a day", change: func(o *renew.Observation) { set(-day)(o); certificate(o, "scheduler.conf", critical) },
			renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}, blocked: []string{"clock"}, next: now.Add(day)},
		{name: "the clock was set, and by both it has expired", change: func(o *renew.Observation) {
			set(2 * 365 * day)(o)
			certificate(o, "scheduler.conf", longExpired)
			certificate(o, "apiserver", expired)
		}, renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}, says: "apiserver: expired 1d ago; it waits: the clock was set"},

		{name: "the clock cannot be right", change: func(o *renew.Observation) {
			o.Clock.Implausible = "the clock shows 1970"
			certificate(o, "scheduler.conf", longExpired)
		}, renew: []string{"scheduler.conf"}, restart: []string{"kube-scheduler"}, blocked: []string{"clock"}, says: "the clock shows 1970"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := healthy()
			tt.change(&o)
			p := renew.Decide(o, renew.Policy{Before: shipped.Before, Share: shipped.Share, Margin: margin, Windows: tt.windows}, tt.wish)
			var names, components, gates []string
			said := p.Notices.String()
			for _, r := range p.Renew {
				names = append(names, r.Certificate)
			}
			for _, r := range p.Restart {
				components = append(components, r.Component)
			}
			for _, g := range p.Blocked {
				gates = append(gates, g.Name)
				said += "\n" + g.Reason + ": " + g.Remedy
			}
			if !slices.Equal(names, tt.renew) || !slices.Equal(components, tt.restart) || !slices.Equal(gates, tt.blocked) {
				t.Errorf("renew %v, restart %v, blocked by %v; want %v, %v, %v", names, components, gates, tt.renew, tt.restart, tt.blocked)
			}
			if !tt.next.IsZero() && !p.Next.Equal(tt.next) {
				t.Errorf("looks again %s (%s), want %s", p.Next, p.NextReason, tt.next)
			}
			if !strings.Contains(said, tt.says) {
				t.Errorf("it says\n%s\nwant %q", said, tt.says)
			}
		})
	}
}
