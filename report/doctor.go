package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// Diagnosis is what `kubecertd doctor` gives out. Its JSON form is for programs and only
// ever grows.
type Diagnosis struct {
	At       time.Time       `json:"at"`
	Findings []renew.Finding `json:"findings"` // worst first
}

// WriteText writes the findings for people.
func (d Diagnosis) WriteText(w io.Writer) {
	counts := map[renew.Severity]int{}
	for _, f := range d.Findings {
		counts[f.Severity]++
	}
	switch renew.NeedOf(d.Findings) {
	case renew.Nothing:
		fmt.Fprintln(w, "Nothing is wrong.")
	case renew.Patience:
		fmt.Fprintf(w, "%s; kubecertd sees to all of it.\n", count(counts))
	case renew.Operator:
		fmt.Fprintf(w, "%s; some of it needs you.\n", count(counts))
	}
	for list := d.Findings; len(list) > 0; {
		n := alike(list)
		writeFindings(w, list[:n], d.At)
		list = list[n:]
	}
	if len(d.Findings) > 0 {
		fmt.Fprintln(w, "\ndocs/troubleshooting.md has an entry for each of these.")
	}
}

// alike is how many findings at the beginning differ only in what they are about.
func alike(list []renew.Finding) int {
	first := list[0]
	for n, f := range list {
		if f.About, f.Found = first.About, first.Found; f != first {
			return n
		}
	}
	return len(list)
}

// writeFindings writes findings that are alike.
func writeFindings(w io.Writer, list []renew.Finding, now time.Time) {
	f := list[0]
	fmt.Fprintf(w, "\n%-8s  %s", strings.ToUpper(string(f.Severity)), f.ID)
	switch {
	case len(list) > 1:
		fmt.Fprintf(w, "  (%d)", len(list))
	case f.About != "":
		fmt.Fprintf(w, "  %s", f.About)
	}
	fmt.Fprintln(w)
	for _, one := range list {
		fmt.Fprintf(w, "  %s\n", oneLine(one.Found))
	}
	if f.Itself != "" {
		fmt.Fprintf(w, "  By itself%s: %s\n", when(f.At, now), oneLine(f.Itself))
	}
	if f.Remedy != "" {
		fmt.Fprintf(w, "  You: %s\n", oneLine(f.Remedy))
	}
}

// count says how many findings of each severity there are.
func count(counts map[renew.Severity]int) string {
	var parts []string
	for _, s := range []renew.Severity{renew.Critical, renew.Warning} {
		if n := counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	return strings.Join(parts, ", ")
}

// when is a time as a person counts it.
func when(at, now time.Time) string {
	switch {
	case at.IsZero():
		return ""
	case !at.After(now):
		return ", now"
	default:
		return fmt.Sprintf(", in %s (%s)", pki.Span(at.Sub(now)), at.UTC().Format(pki.TimeLayout))
	}
}

// oneLine keeps errors of several lines together.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
