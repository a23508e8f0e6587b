package renew

import (
	"errors"
	"fmt"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Clock is what speaks against the clock of the host. All of it is empty when nothing
// does.
type Clock struct {
	// Implausible is why it cannot be right.
	Implausible string `json:"implausible,omitempty"`
	// Reckoned is what it would show had nobody set it, by the kernel's boot clock; zero
	// when it shows that. Until is when it is believed all the same.
	Reckoned time.Time `json:"reckoned,omitzero"`
	Until    time.Time `json:"believedAt,omitzero"`
	// Unkept is why nobody knows whether it is right: no time server keeps it.
	Unkept string `json:"unkept,omitempty"`
}

// gateClock is the gate that a clock closes.
const gateClock = "clock"

const (
	// clockTolerance is by how much a clock may be off without harm: kubeadm dates what it
	// signs back by as much (kubeadm: constants.go, CertificateBackdate).
	clockTolerance = 5 * time.Minute
	// longOff is longer than a machine is switched off: what comes back later than that by
	// its own clock is asked for a time server first.
	longOff = 365 * 24 * time.Hour
)

// moment is one on all clocks.
type moment struct {
	Boot string        `json:"boot"`
	Up   time.Duration `json:"up"`
	Wall time.Time     `json:"wall"`
}

func marked(c Clocks) moment { return moment{c.Boot, c.Up, c.Wall.UTC()} }

// reckon is what the wall clock must show now, given what it showed at the moment m. In another
// boot that is the earliest that it can, because nobody knows how long the machine was off.
func (m moment) reckon(now Clocks) (wall time.Time, exact bool) {
	if m.Boot == now.Boot {
		return m.Wall.Add(now.Up - m.Up), true
	}
	return m.Wall.Add(now.Up), false
}

// agrees says whether the clock goes on from that moment as it should, and what it would show
// if it did.
func (m moment) agrees(now Clocks) (reckoned time.Time, agrees bool) {
	reckoned, exact := m.reckon(now)
	off := now.Wall.Sub(reckoned)
	if exact {
		return reckoned, off.Abs() <= clockTolerance
	}
	return reckoned, off >= -clockTolerance && off < longOff
}

// marks are what is remembered of the clock between looks.
type marks struct {
	// Believed is the last moment at which it was right, as far as is known. Doubted is
	// since when it shows something else.
	Believed moment `json:"believed,omitzero"`
	Doubted  moment `json:"doubted,omitzero"`
}

// judge says what the clock would show had it not been set since it was last believed,
// and until when it is not believed; both are zero when it is. A time server is believed
// at once, and a clock that was set by so much when it has gone on for as long: minutes
// of a person with a watch, and years practically never.
func (m marks) judge(now Clocks, kept bool) (reckoned, until time.Time) {
	if m.Believed.Wall.IsZero() || kept {
		return time.Time{}, time.Time{}
	}
	reckoned, agrees := m.Believed.agrees(now)
	if agrees {
		return time.Time{}, time.Time{}
	}
	since := now.Wall
	if _, goesOn := m.Doubted.agrees(now); goesOn && !m.Doubted.Wall.IsZero() {
		since = m.Doubted.Wall
	}
	until = since.Add(now.Wall.Sub(reckoned).Abs())
	if !now.Wall.Before(until) {
		return time.Time{}, time.Time{}
	}
	return reckoned, until
}

// remember takes the clock up as it shows now, and says whether that is worth writing
// down: a day later is, so that a machine that comes back knows its last day.
func (m *marks) remember(now Clocks, kept bool) (changed bool) {
	if reckoned, _ := m.judge(now, kept); !reckoned.IsZero() {
		if _, goesOn := m.Doubted.agrees(now); goesOn && !m.Doubted.Wall.IsZero() {
			return false
		}
		m.Doubted = marked(now)
		return true
	}
	_, agrees := m.Believed.agrees(now)
	if agrees && m.Believed.Boot == now.Boot && m.Doubted.Wall.IsZero() && now.Wall.Sub(m.Believed.Wall) < 24*time.Hour {
		return false
	}
	*m = marks{Believed: marked(now)}
	return true
}

// clock judges the host's clock at a look.
func (n *Node) clock(at time.Time, certificates []pki.Certificate) Clock {
	c := Clock{Implausible: implausible(at, n.Built, certificates)}
	kept, err := n.kept()
	switch {
	case n.RequireKept && err != nil:
		c.Unkept = err.Error()
	case n.RequireKept && !kept:
		c.Unkept = "no time server keeps this host's clock"
	}
	if now, err := n.clocksAt(at); err == nil {
		m := n.State.readLedger().Clock
		c.Reckoned, c.Until = m.judge(m.known(now), kept)
	}
	return c
}

// implausible says why a clock cannot be right, or "".
func implausible(at, built time.Time, certificates []pki.Certificate) string {
	if at.Before(built) {
		return fmt.Sprintf("the clock shows %s, and this program was made on %s: is the clock right?",
			at.UTC().Format(pki.TimeLayout), built.UTC().Format(pki.TimeLayout))
	}
	for _, c := range certificates {
		if c.Kind == pki.CA && !c.Watched && c.Leaf != nil && at.Before(c.NotBefore.Add(-clockTolerance)) {
			return fmt.Sprintf("the clock shows %s, and the CA %s is of %s: is the clock right?",
				at.UTC().Format(pki.TimeLayout), c.Path, c.NotBefore.UTC().Format(pki.TimeLayout))
		}
	}
	return ""
}

// kept asks whether a time server keeps the clock.
func (n *Node) kept() (bool, error) {
	if n.ClockKept == nil {
		return false, errors.New("nobody knows whether a time server keeps the clock")
	}
	return n.ClockKept()
}

// clocksAt are the kernel's clocks, with the wall clock of the look.
func (n *Node) clocksAt(at time.Time) (Clocks, error) {
	if n.Clocks == nil {
		return Clocks{}, errors.New("of another root nobody knows when it was booted")
	}
	c, err := n.Clocks()
	c.Wall = at
	return c, err
}

// known gives the boot the name that it has in the marks, as ledger.known does.
func (m marks) known(now Clocks) Clocks {
	if b := m.Believed; now.booted().Sub(b.Wall.Add(-b.Up)).Abs() <= clockStep {
		now.Boot = b.Boot
	}
	return now
}

// clockGate is the gate of a clock that cannot be right; nothing passes it.
func clockGate(c Clock) []Gate {
	if c.Implausible == "" {
		return nil
	}
	return []Gate{{gateClock, c.Implausible,
		"set it (timedatectl set-time), or let a time server (chrony, systemd-timesyncd): with a wrong clock nobody knows what has expired, and what is signed now is refused elsewhere"}}
}
