//go:build linux

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/test/clients"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

func TestJudge(t *testing.T) {
	refused := errors.New("refused")
	ok := func(sent, answered float64) clients.Request {
		return clients.Request{Sent: at(sent), Answered: at(answered), Err: nil}
	}
	fail := func(sent, answered float64) clients.Request {
		return clients.Request{Sent: at(sent), Answered: at(answered), Err: refused}
	}
	for _, tt := range []struct {
		name     string
		requests []clients.Request
		want     served
	}{
		{"always there", []clients.Request{ok(0, .1), ok(1, 1.1)}, served{}},
		{"slow is not away", []clients.Request{ok(0, .1), ok(1, 2.5)}, served{slow: 1}},
		{"one window", []clients.Request{ok(0, .1), fail(1, 1), fail(2, 2), ok(3, 3.5)}, served{away: 2500 * time.Millisecond, longest: 2500 * time.Millisecond, failed: 2}},
		// What was sent in the window and answered late does not make it longer, and one that
		// ran into its deadline does not begin another.
		{"answers out of order", []clients.Request{fail(1, 6), ok(2, 4.5), fail(2.5, 7.5), ok(3, 3.25), ok(5, 5.1)},
			served{away: 2250 * time.Millisecond, longest: 2250 * time.Millisecond, failed: 2, slow: 1}},
		{"two windows", []clients.Request{fail(1, 1), ok(2, 2), fail(3, 3), ok(6, 6)}, served{away: 4 * time.Second, longest: 3 * time.Second, failed: 2}},
		{"away to the end", []clients.Request{ok(0, .1), fail(1, 1), fail(2, 4)}, served{away: 3 * time.Second, longest: 3 * time.Second, failed: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, judge(tt.requests), cmp.AllowUnexported(served{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLeaderless(t *testing.T) {
	lived := func(began, ended float64) life {
		l := life{began: at(began)}
		if ended > 0 {
			l.ended = at(ended)
		}
		return l
	}
	before := -100.0
	for _, tt := range []struct {
		name     string
		acquired []time.Time
		lives    []life
		want     float64
	}{
		{"the same all the time", []time.Time{at(-50)}, []life{lived(before, 0)}, 0},
		{"handed over", []time.Time{at(18), at(-50)}, []life{lived(before, 3), lived(4, 0)}, 15},
		{"twice", []time.Time{at(-50), at(5), at(9)}, []life{lived(before, 3), lived(4, 6), lived(7, 0)}, 5},
		{"a process that never led", []time.Time{at(-50), at(9)}, []life{lived(before, 3), lived(4, 6), lived(7, 0)}, 6},
		{"nobody in the end", []time.Time{at(-50)}, []life{lived(before, 15)}, 5},
		{"nobody at all", nil, []life{lived(before, 0)}, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := leaderless(tt.acquired, tt.lives, at(0), at(20)).Seconds(); got != tt.want {
				t.Errorf("%g s without a leader, want %g", got, tt.want)
			}
		})
	}
}

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		s    spread
		want string
	}{
		{spread{3, 1, 2}, "2.0 (1.0–3.0)"},
		{spread{4, 1}, "2.5 (1.0–4.0)"},
		{spread{0, 0, 0}, "0.0"},
	} {
		if got := tt.s.show(1); got != tt.want {
			t.Errorf("%v is shown as %q, want %q", tt.s, got, tt.want)
		}
	}
}

// What is not reached is said.
func TestPage(t *testing.T) {
	trials := func(away time.Duration, failed int) []result {
		return []result{{served: served{away: away, longest: away, failed: failed}, loaded: 5 * time.Second}, {served: served{away: away}}}
	}
	p := &page{
		Began: start, Repeat: 2,
		Ways:      []summary{summarise(ways[0], trials(0, 1)), summarise(ways[1], trials(3*time.Second, 8)), summarise(ways[5], trials(time.Second, 9))},
		Idle:      &idle{Watched: time.Minute, Resident: 24, Day: 2 * time.Second},
		Detection: []time.Duration{1500 * time.Millisecond, 2500 * time.Millisecond},
	}
	var text strings.Builder
	if err := p.render(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| `auto`: failed requests, the worst trial | 0 | 1 | **not reached** |",
		"| `always`: time without API, of the floor's | at most 1.5 times | 3.00 times | **not reached** |",
		"| `auto`: time without a leader, the worst trial | at most 2 s | 0.00 s | reached |",
		"| idle daemon: resident memory | at most 25 MiB | 24.0 MiB | reached |",
		"| idle daemon: CPU time a day | under 1 s | 2.00 s | **not reached** |",
		"| detection, the worst trial | 2 s | 2.50 s | **not reached** |",
		"| kubecertd, `restart.policy: always` | 3.00 | 1.50 (0.00–3.00) | 4 (0–8) |",
		"**2.00 (1.50–2.50) s**",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the page lacks %q:\n%s", want, text.String())
		}
	}
	if strings.Contains(text.String(), "Many files") {
		t.Error("the page has a section of what was not measured")
	}
}
