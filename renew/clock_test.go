package renew

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// A clock that is set is not believed: until it is right again, a time server keeps it,
// or it has gone on for as long as it was set by.
func TestClockIsSet(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const year = 365 * 24 * time.Hour
	type look struct {
		boot     string
		up       time.Duration
		off      time.Duration // of the clock, from noon and up on
		kept     bool
		doubted  bool
		reckoned time.Duration // since noon, when doubted
		written  bool
	}
	for _, tt := range []struct {
		name  string
		looks []look
	}{
		{"goes on", []look{{up: 1, written: true}, {up: time.Hour}, {up: 25 * time.Hour, written: true}}},
		{"drifts", []look{{written: true}, {up: time.Hour, off: 4 * time.Minute}, {up: 2 * time.Hour, off: -4 * time.Minute}}},
		{"two years forwards and right again", []look{{written: true}, {up: time.Hour, off: 2 * year, doubted: true, reckoned: time.Hour, written: true},
			{up: 2 * time.Hour, off: 2 * year, doubted: true, reckoned: 2 * time.Hour}, {up: 3 * time.Hour, written: true}, {up: 4 * time.Hour}}},
		{"back and right again", []look{{written: true}, {up: time.Hour, off: -year, doubted: true, reckoned: time.Hour, written: true}, {up: 2 * time.Hour, written: true}}},
		{"ten minutes, and goes on", []look{{written: true}, {up: time.Hour, off: 10 * time.Minute, doubted: true, reckoned: time.Hour, written: true},
			{up: time.Hour + 9*time.Minute, off: 10 * time.Minute, doubted: true, reckoned: time.Hour + 9*time.Minute},
			{up: time.Hour + 10*time.Minute, off: 10 * time.Minute, written: true}, {up: 2 * time.Hour, off: 10 * time.Minute}}},
		{"set twice begins anew", []look{{written: true}, {up: time.Hour, off: time.Hour, doubted: true, reckoned: time.Hour, written: true},
			{up: 90 * time.Minute, off: 2 * time.Hour, doubted: true, reckoned: 90 * time.Minute, written: true},
			{up: 200 * time.Minute, off: 2 * time.Hour, doubted: true, reckoned: 200 * time.Minute}}},
		{"by a time server", []look{{written: true}, {up: time.Hour, off: 2 * year, kept: true, written: true}, {up: 2 * time.Hour, off: 2 * year}}},
		{"another boot, a week later", []look{{up: time.Hour, written: true}, {boot: "next", up: time.Minute, off: 7 * 24 * time.Hour, written: true}}},
		{"another boot, before the last look", []look{{up: time.Hour, written: true},
			{boot: "next", up: time.Minute, off: -time.Hour, doubted: true, reckoned: time.Hour + time.Minute, written: true}}},
		{"another boot, years later", []look{{up: time.Hour, written: true},
			{boot: "next", up: time.Minute, off: 3 * year, doubted: true, reckoned: time.Hour + time.Minute, written: true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m marks
			for i, l := range tt.looks {
				now := Clocks{Boot: "this" + l.boot, Up: l.up, Wall: noon.Add(l.up + l.off)}
				reckoned, until := m.judge(m.known(now), l.kept)
				if reckoned.IsZero() == l.doubted || reckoned.IsZero() != until.IsZero() {
					t.Errorf("look %d: reckoned %s until %s, doubted should be %t", i, reckoned, until, l.doubted)
				}
				if l.doubted && !reckoned.Equal(noon.Add(l.reckoned)) {
					t.Errorf("look %d: reckoned %s, want %s", i, reckoned, noon.Add(l.reckoned))
				}
				if written := m.remember(m.known(now), l.kept); written != l.written {
					t.Errorf("look %d: written %t, want %t", i, written, l.written)
				}
			}
		})
	}
}

func TestImplausibleClock(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ca := func(notBefore time.Time) []pki.Certificate {
		return []pki.Certificate{{Name: "ca", Kind: pki.CA, Path: "/ca.crt", Leaf: &x509.Certificate{}, NotBefore: notBefore}}
	}
	for _, tt := range []struct {
		name         string
		built        time.Time
		certificates []pki.Certificate
		says         string
	}{
		{"as it should be", at.Add(-day), ca(at.Add(-day)), ""},
		{"not stamped", time.Time{}, ca(at.Add(-day)), ""},
		{"before the build", at.Add(time.Second), ca(at.Add(-day)), "this program was made on 2026-03-01 12:00:01 UTC"},
		{"before the CA", at.Add(-day), ca(at.Add(time.Hour)), "the CA /ca.crt is of 2026-03-01 13:00:00 UTC: is the clock right?"},
		{"a CA of a peer that is a little ahead", at.Add(-day), ca(at.Add(4 * time.Minute)), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := implausible(at, tt.built, tt.certificates); (got == "") != (tt.says == "") || !strings.Contains(got, tt.says) {
				t.Errorf("%q, want %q", got, tt.says)
			}
		})
	}
}

// One that cannot be asked is as one that nobody keeps, where that matters.
func TestClockNobodyKeeps(t *testing.T) {
	for _, tt := range []struct {
		name    string
		require bool
		kept    bool
		err     error
		says    string
	}{
		{"kept", true, true, nil, ""},
		{"not kept", true, false, nil, "no time server keeps this host's clock"},
		{"cannot be asked", true, false, errors.New("adjtimex: EPERM"), "adjtimex: EPERM"},
		{"not kept, and need not be", false, false, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := emptyNode(t, State{Dir: t.TempDir()})
			n.RequireKept, n.ClockKept = tt.require, func() (bool, error) { return tt.kept, tt.err }
			if got := n.clock(time.Now(), nil); got.Unkept != tt.says {
				t.Errorf("%+v, want %q", got, tt.says)
			}
		})
	}
}
