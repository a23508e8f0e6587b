//go:build linux

package main

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed benchmarks.md.tmpl
var pageTemplate string

// page is what docs/benchmarks.md shows.
type page struct {
	Began      time.Time
	Took       time.Duration
	Version    string
	Kubernetes string
	Machine    string
	Repeat     int
	Ways       []summary
	Idle       *idle
	Detection  []time.Duration
	Looks      []look
	Files      []look
}

// newPage begins a page with where it is measured.
func newPage(ctx context.Context, b *bench) (*page, error) {
	version, err := b.node.Run(ctx, "kubecertd", "version")
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(version.Stdout, "\n")
	return &page{Began: time.Now(), Version: first, Kubernetes: b.cluster.Kubernetes(), Machine: thisMachine(), Repeat: b.repeat}, nil
}

// thisMachine is what the figures depend on.
func thisMachine() string {
	field := func(file, name string) string {
		content, _ := os.ReadFile(file)
		for line := range strings.Lines(string(content)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
				return strings.TrimSpace(value)
			}
		}
		return ""
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d processors (%s), %s of memory, Linux %s", goruntime.NumCPU(),
		cmp.Or(field("/proc/cpuinfo", "model name"), goruntime.GOARCH), field("/proc/meminfo", "MemTotal"), strings.TrimSpace(string(kernel)))
}

// spread is a figure that was taken several times.
type spread []float64

func (s spread) sorted() []float64 { return slices.Sorted(slices.Values(s)) }

func (s spread) median() float64 {
	list := s.sorted()
	if n := len(list); n%2 == 0 {
		return (list[n/2-1] + list[n/2]) / 2
	}
	return list[len(list)/2]
}

func (s spread) max() float64 { return slices.Max(s) }

// show is the median, the least and the most, with so many digits.
func (s spread) show(digits int) string {
	list := s.sorted()
	least, most := list[0], list[len(list)-1]
	if least == most {
		return fmt.Sprintf("%.*f", digits, s.median())
	}
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, s.median(), digits, least, digits, most)
}

// seconds are durations as a spread.
func seconds(all []time.Duration) spread {
	var s spread
	for _, d := range all {
		s = append(s, d.Seconds())
	}
	return s
}

// summary is one way over all its trials.
type summary struct {
	id, Title                             string
	away, longest, leaderless, loaded     spread // in seconds
	failed, slow, ended, term, kill       spread
	Away, Longest, Failed, Slow           string
	Leaderless, Loaded, Term, Kill, Ended string
}

func summarise(w way, results []result) summary {
	s := summary{id: w.id, Title: w.title}
	for _, r := range results {
		s.away = append(s.away, r.away.Seconds())
		s.longest = append(s.longest, r.longest.Seconds())
		s.leaderless = append(s.leaderless, r.leaderless.Seconds())
		s.failed, s.slow = append(s.failed, float64(r.failed)), append(s.slow, float64(r.slow))
		s.ended, s.term, s.kill = append(s.ended, float64(r.ended)), append(s.term, float64(r.term)), append(s.kill, float64(r.kill))
		if r.loaded > 0 {
			s.loaded = append(s.loaded, r.loaded.Seconds())
		}
	}
	s.Away, s.Longest, s.Leaderless, s.Loaded = s.away.show(2), s.longest.show(2), s.leaderless.show(2), "–"
	if len(s.loaded) > 0 {
		s.Loaded = s.loaded.show(1)
	}
	s.Failed, s.Slow, s.Term, s.Kill, s.Ended = s.failed.show(0), s.slow.show(0), s.term.show(0), s.kill.show(0), s.ended.show(0)
	return s
}

// goal is what was wanted, and what was measured.
type goal struct {
	What, Wanted, Measured string
	Reached                bool
}

// Goals are those that can be judged by what was measured.
func (p *page) Goals() []goal {
	var goals []goal
	add := func(what, wanted, measured string, reached bool) {
		goals = append(goals, goal{what, wanted, measured, reached})
	}
	of := map[string]summary{}
	for _, s := range p.Ways {
		of[s.id] = s
	}
	auto, hasAuto := of["auto"]
	always, hasAlways := of["always"]
	floor, hasFloor := of["floor"]
	if hasAuto {
		add("`auto`: failed requests, the worst trial", "0", fmt.Sprintf("%.0f", auto.failed.max()), auto.failed.max() == 0)
	}
	if hasAlways && hasFloor {
		ratio := always.away.median() / floor.away.median()
		add("`always`: time without API, of the floor's", "at most 1.5 times", fmt.Sprintf("%.2f times", ratio), ratio <= 1.5)
	}
	for _, s := range []summary{auto, always} {
		if s.id != "" {
			add("`"+s.id+"`: time without a leader, the worst trial", "at most 2 s", fmt.Sprintf("%.2f s", s.leaderless.max()), s.leaderless.max() <= 2)
		}
	}
	if i := p.Idle; i != nil {
		add("idle daemon: resident memory", "at most 25 MiB", fmt.Sprintf("%.1f MiB", i.Resident), i.Resident <= 25)
		add("idle daemon: CPU time a day", "under 1 s", fmt.Sprintf("%.2f s", i.Day.Seconds()), i.Day < time.Second)
	}
	if len(p.Detection) > 0 {
		worst := slices.Max(p.Detection)
		add("detection, the worst trial", "2 s", fmt.Sprintf("%.2f s", worst.Seconds()), worst <= 2*time.Second)
	}
	if n := len(p.Files); n > 0 {
		l := p.Files[n-1]
		add("one look at 10,000 certificate files: time", "at most 1 s", fmt.Sprintf("%.2f s", l.Median.Seconds()), l.Median <= time.Second)
		add("one look at 10,000 certificate files: peak memory", "at most 60 MiB", fmt.Sprintf("%.0f MiB", l.MiB()), l.MiB() <= 60)
	}
	return goals
}

// render writes the page.
func (p *page) render(w io.Writer) error {
	t, err := template.New("benchmarks.md").Funcs(template.FuncMap{
		"seconds": func(all []time.Duration) string { return seconds(all).show(2) },
		"ms":      func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) },
		"s":       func(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) },
		"round":   func(d time.Duration) string { return d.Round(time.Second).String() },
		"mib":     func(f float64) string { return fmt.Sprintf("%.1f MiB", f) },
	}).Parse(pageTemplate)
	if err != nil {
		return err
	}
	return t.Execute(w, p)
}

// String is one trial in a line.
func (r result) String() string {
	return fmt.Sprintf("without API %.2f s (longest %.2f s), %d requests failed, %d slow, without leader %.2f s, loaded after %.1f s, %d ended (%d SIGTERM, %d SIGKILL)",
		r.away.Seconds(), r.longest.Seconds(), r.failed, r.slow, r.leaderless.Seconds(), r.loaded.Seconds(), r.ended, r.term, r.kill)
}
