//go:build linux

package faults_test

import (
	"testing"
	"time"
)

// Whatever a run is cut off by, and wherever: every certificate is valid and matches its
// key, as before or renewed; no component is stopped twice; all is well in the end, the
// cause is in the journal, and no key is.
func TestMatrix(t *testing.T) {
	n := onNode(t)
	var seen results
	on := time.Now().UTC().Format(time.DateOnly)
	for _, r := range table() {
		if !soak && !r.quick {
			continue
		}
		result := result{row: r, on: on}
		t.Run(r.name, func(t *testing.T) {
			t.Cleanup(func() { result.failed = t.Failed() })
			result.seen = r.run(t, n)
			t.Log(result.seen)
		})
		if result.seen == "" && !result.failed {
			continue // the command line left it out
		}
		if seen = append(seen, result); soak {
			must(t, seen.write()) // each time: it takes long, and may be cut off itself
		}
	}
}

// Every kind is tried by `make test`, too; every row has a name of its own and a cause
// or a harm.
func TestTable(t *testing.T) {
	names, quick := map[string]bool{}, map[string]int{}
	for _, r := range table() {
		if names[r.name] {
			t.Errorf("%s is there twice", r.name)
		}
		names[r.name] = true
		if r.point == "" && r.before == nil {
			t.Errorf("%s does no harm", r.name)
		}
		if r.mend != nil && len(r.says) == 0 {
			t.Errorf("%s has a cause that stays, and does not say how it is seen", r.name)
		}
		quick[r.kind] += 0
		if r.quick {
			quick[r.kind]++
		}
	}
	for kind, n := range quick {
		if n < 1 || n > 2 {
			t.Errorf("%s: %d rows are quick, want one or two", kind, n)
		}
	}
	if len(names) < 40 {
		t.Errorf("only %d rows", len(names))
	}
}

// What is written into the document is read back from it.
func TestResultsAreKept(t *testing.T) {
	lab.versions = "versions"
	first := table()[0]
	all := results{{row: first, seen: "stopped: a; settled after 3 s", on: "2026-03-01"}, {row: table()[1], failed: true, on: "2026-03-02"}}
	got := parse(all.markdown())
	if len(got) != 2 || got[0].name != first.name || got[0].seen != all[0].seen || got[0].on != "2026-03-01" || got[0].failed {
		t.Errorf("read back %+v", got)
	}
	if !got[1].failed {
		t.Errorf("one that did not hold is read back as %+v", got[1])
	}
}
