//go:build linux

package faults_test

import (
	"testing"
)

// Whatever a run is cut off by, and wherever: every certificate is valid and matches its
// key, as before or renewed; no component is stopped twice; all is well in the end, the
// cause is in the journal, and no key is.
func TestMatrix(t *testing.T) {
	n := onNode(t)
	var seen results
	for _, r := range table() {
		if !soak && !r.quick {
			continue
		}
		result := result{row: r}
		t.Run(r.name, func(t *testing.T) {
			t.Cleanup(func() { result.failed = t.Failed() })
			result.seen = r.run(t, n)
			t.Log(result.seen)
		})
		seen = append(seen, result)
	}
	if soak && len(seen.ran()) == len(table()) {
		must(t, seen.write())
	}
}
