//go:build linux

package faults_test

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"time"
)

// result is what was seen of a row.
type result struct {
	row
	seen   string // empty when it did not run to its end
	failed bool
}

type results []result

// ran are those that the command line did not leave out.
func (all results) ran() results {
	var ran results
	for _, r := range all {
		if r.seen != "" || r.failed {
			ran = append(ran, r)
		}
	}
	return ran
}

const (
	document = "../../docs/reliability.md"
	begin    = "<!-- the table begins -->\n"
	end      = "<!-- the table ends -->\n"
)

// write puts the table into the document, in place of the one before.
func (all results) write() error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	head, rest, there := strings.Cut(string(text), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !there || !closed {
		return fmt.Errorf("%s has no %q and %q to put the table between", document, begin, end)
	}
	return os.WriteFile(document, []byte(head+begin+all.markdown(time.Now())+end+tail), 0o644)
}

func (all results) markdown(at time.Time) string {
	held, kinds := 0, map[string]int{}
	for _, r := range all {
		if !r.failed {
			held++
		}
		kinds[r.kind]++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s: %d rows of %d kinds, %d held, %d did not.\n\n", at.UTC().Format("2 January 2006"), lab.versions, len(all), len(kinds), held, len(all)-held)
	b.WriteString("| fault | what must hold besides | what was seen |\n|---|---|---|\n")
	kind := ""
	for _, r := range all {
		if r.kind != kind {
			kind = r.kind
			fmt.Fprintf(&b, "| **%s** (%d) | | |\n", kind, kinds[kind])
		}
		seen := strings.ReplaceAll(strings.ReplaceAll(r.seen, "|", "/"), "\n", " ")
		if r.failed {
			seen = strings.TrimSpace("**did not hold** " + seen)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.name, cmp.Or(r.must, "–"), seen)
	}
	return b.String()
}
