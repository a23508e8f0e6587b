package renew

import (
	"fmt"
	"slices"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// gateWindow is the gate of the maintenance windows.
const gateWindow = "window"

// hold is a gate that is closed only for what can wait.
type hold struct {
	Gate
	// until is when it opens; zero when nobody knows.
	until time.Time
	opens string // what happens then
	// clocks and policy are by what time, each of them, and by what margin something does
	// not wait.
	clocks []time.Time
	policy Policy
}

// NoticeHeld is that some of what could be done waits for such a gate, beside what does not.
const NoticeHeld = "held-back"

// holds are the gates that hold back what can wait. No window holds what a person asked
// for.
func holds(o Observation, policy Policy, wish Wish) []hold {
	var list []hold
	if next := policy.Windows.Next(o.At); !wish.any() && next.After(o.At) {
		list = append(list, hold{Gate{gateWindow, fmt.Sprintf("the next maintenance window opens %s, in %s (renew.windows), and nothing is critical before",
			next.In(policy.Windows.zone()).Format("Mon 2006-01-02 15:04 MST"), pki.Span(next.Sub(o.At))),
			"it goes on by itself then; at once: kubecertd renew NAME, or --all"}, next, "the next maintenance window opens", []time.Time{o.At}, policy})
	}
	if o.Clock.Unkept != "" {
		list = append(list, hold{Gate{gateClock, o.Clock.Unkept + ", so that only what is critical is renewed (renew.critical)",
			"let one keep it (chrony, systemd-timesyncd; timedatectl shows it); where the clock is right without one, set clock.requireSync to false"},
			time.Time{}, "", []time.Time{o.At}, policy})
	}
	if r := o.Clock.Reckoned; !r.IsZero() {
		// What has run out by both clocks has run out, whichever is right.
		certain := policy
		certain.Margin = Margin{}
		list = append(list, hold{Gate{gateClock, fmt.Sprintf("the clock was set: it shows %s, and would show %s by the kernel's boot clock, which nobody can set; nothing that is valid by one of the two is touched",
			o.At.UTC().Format(pki.TimeLayout), r.UTC().Format(pki.TimeLayout)),
			fmt.Sprintf("set it right, or let a time server keep it (chrony, systemd-timesyncd), which is believed at once; if it goes on like this it is believed from %s on",
				o.Clock.Until.UTC().Format(pki.TimeLayout))},
			o.Clock.Until, "the clock is believed", []time.Time{o.At, r}, certain})
	}
	return list
}

// passes says whether something does not wait for this hold.
func (h hold) passes(o Observation, urgent func(Observation, Policy) string) bool {
	return !slices.ContainsFunc(h.clocks, func(at time.Time) bool {
		o.At = at
		return urgent(o, h.policy) == ""
	})
}

// hold closes the gates that hold back what can wait, or, when something of the plan
// cannot, takes from it what can.
func (p *Plan) hold(o Observation, proofs []Proof, policy Policy, wish Wish) {
	for _, h := range holds(o, policy, wish) {
		if !p.certificates() {
			return
		}
		var renew []Renewal
		for _, r := range p.Renew {
			if h.passes(o, r.urgent) {
				renew = append(renew, r)
			}
		}
		var restart []Restart
		for _, r := range p.Restart {
			if h.passes(o, r.urgent) || slices.ContainsFunc(renew, func(c Renewal) bool { return o.holds(r.Component, c.Certificate) }) {
				if reason := restartReason(o, proofs, renew, r.Component, policy); reason != "" {
					restart = append(restart, Restart{r.Component, reason})
				}
			}
		}
		if wish.any() && (len(renew) < len(p.Renew) || len(restart) < len(p.Restart)) || len(renew)+len(restart) == 0 {
			p.Blocked = append(p.Blocked, h.Gate)
			p.awaken(o, h)
			continue
		}
		p.drop(o, h, renew, restart)
	}
}

// awaken makes the plan's next look that of the gate's opening, or of the moment at
// which something does not wait for it any more.
func (p *Plan) awaken(o Observation, h hold) {
	at, why := h.until, h.opens
	for _, r := range p.Renew {
		c, _ := o.Certificate(r.Certificate)
		if critical := h.policy.criticalAt(c); critical.After(o.At) && (at.IsZero() || critical.Before(at)) {
			at, why = critical, c.Name+" becomes critical"
		}
	}
	if at.After(o.At) && (p.Next.IsZero() || at.Before(p.Next)) {
		p.Next, p.NextReason = at, why
	}
}

// drop leaves only what does not wait for a gate, and says what does.
func (p *Plan) drop(o Observation, h hold, renew []Renewal, restart []Restart) {
	for _, r := range p.Renew {
		if slices.Contains(renew, r) {
			continue
		}
		for i := range p.Decisions {
			if d := &p.Decisions[i]; d.Certificate == r.Certificate && !d.Watched {
				d.Renew, d.At, d.Reason = false, h.until, d.Reason+"; it waits: "+h.Reason
				p.notice(Notice{ID: NoticeHeld, Severity: Info, Text: fmt.Sprintf("%s: %s", d.Certificate, d.Reason), Remedy: h.Remedy, At: h.until})
			}
		}
	}
	for _, r := range p.Restart {
		if !slices.ContainsFunc(restart, func(kept Restart) bool { return kept.Component == r.Component }) {
			p.notice(Notice{ID: NoticeHeld, Severity: Info, Text: fmt.Sprintf("the restart of %s waits: %s", r.Component, h.Reason), Remedy: h.Remedy, At: h.until})
		}
	}
	p.awaken(o, h)
	p.Renew, p.Restart = append([]Renewal{}, renew...), append([]Restart{}, restart...)
}

// waits says that nothing but what can wait is held back, so that there is no need to look
// again before the plan says so.
func (l Look) waits() bool {
	return len(l.Plan.Blocked) > 0 && !slices.ContainsFunc(l.Plan.Blocked, func(g Gate) bool {
		c := l.Observation.Clock
		return g.Name != gateWindow && (g.Name != gateClock || c.Implausible != "" || !c.Reckoned.IsZero())
	})
}
