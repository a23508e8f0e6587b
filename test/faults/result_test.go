//go:build linux

package faults_test

import (
	"cmp"
	"fmt"
	"os"
	"strings"
)

// result is what was seen of a row.
type result struct {
	row
	seen   string // empty when it did not run to its end
	failed bool
	on     string // the day, such as 2026-03-01
}

type results []result

const (
	document = "../../docs/reliability.md"
	begin    = "<!-- the table begins -->\n"
	end      = "<!-- the table ends -->\n"
)

// write puts what was seen into the table of the document, in place of what was seen of
// the same rows before. A row that is no more, or has never run, is not in it.
func (all results) write() error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	head, rest, there := strings.Cut(string(text), begin)
	before, tail, closed := strings.Cut(rest, end)
	if !there || !closed {
		return fmt.Errorf("%s has no %q and %q to put the table between", document, begin, end)
	}
	known := map[string]result{}
	for _, r := range append(parse(before), all...) {
		known[r.name] = r
	}
	var merged results
	for _, r := range table() {
		if is, ok := known[r.name]; ok {
			is.row = r
			merged = append(merged, is)
		}
	}
	return os.WriteFile(document, []byte(head+begin+merged.markdown()+end+tail), 0o644)
}

const notHeld = "**did not hold**"

// parse reads the rows of a table that markdown has written.
func parse(markdown string) results {
	var all results
	for line := range strings.Lines(markdown) {
		cells := strings.Split(strings.TrimSuffix(strings.TrimSpace(line), " |"), " | ")
		if name, ok := strings.CutPrefix(cells[0], "| "); ok && len(cells) == 4 && name != "fault" {
			seen, failed := strings.CutPrefix(cells[3], notHeld)
			all = append(all, result{row: row{name: name}, seen: strings.TrimSpace(seen), failed: failed, on: cells[2]})
		}
	}
	return all
}

func (all results) markdown() string {
	held, kinds := 0, map[string]int{}
	for _, r := range all {
		if !r.failed {
			held++
		}
		kinds[r.kind]++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d rows of %d kinds have run, %d held, %d did not.\n\n", lab.versions, len(all), len(table()), len(kinds), held, len(all)-held)
	b.WriteString("| fault | what must hold besides | last run | what was seen |\n|---|---|---|---|\n")
	kind := ""
	for _, r := range all {
		if r.kind != kind {
			kind = r.kind
			fmt.Fprintf(&b, "| **%s** (%d) | | | |\n", kind, kinds[kind])
		}
		seen := strings.ReplaceAll(strings.ReplaceAll(r.seen, "|", "/"), "\n", " ")
		if r.failed {
			seen = notHeld + " " + seen
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.name, cmp.Or(r.must, "–"), r.on, cmp.Or(strings.TrimSpace(seen), "–"))
	}
	return b.String()
}
