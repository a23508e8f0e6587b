package report

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// Fleet is what the nodes of a cluster say of their certificates, as `kubecertd fleet`
// gives it out. Its JSON form is for programs and only ever grows.
type Fleet struct {
	At time.Time `json:"at"`
	// Nodes are ordered by when they were looked at, the oldest look first. Those of which
	// nothing is known come before them.
	Nodes []FleetNode `json:"nodes"`
	// Turn is who holds the turn among the control-plane nodes, Since since when and
	// Reason what for; empty when nobody does.
	Turn   string    `json:"turn,omitempty"`
	Since  time.Time `json:"turnSince,omitzero"`
	Reason string    `json:"turnReason,omitempty"`
	// TurnUnknown is why that cannot be told.
	TurnUnknown string `json:"turnUnknown,omitempty"`
}

// FleetNode is a node as it says of itself.
type FleetNode struct {
	Name         string `json:"name"`
	ControlPlane bool   `json:"controlPlane"`
	// State is the worst of the node: expired, invalid, missing, stale, due, silent,
	// paused, external, unknown, ok, or none where there is no report.
	State string `json:"state"`
	// Why says what is wrong with the report.
	Why string `json:"why,omitempty"`
	// Report is what the node says; nil where it says nothing that can be read.
	Report *renew.Summary `json:"report,omitempty"`
	// Working says that a run is at work on it.
	Working bool `json:"working,omitempty"`
}

// What the state of a node can be besides those of its certificates.
const (
	fleetStale  = "stale"
	fleetSilent = "silent"
	fleetPaused = "paused"
	fleetNone   = "none"
)

// fleetQuiet is after what time a report is old: a daemon repeats it every six hours, or
// with the first look after that.
const fleetQuiet = 13 * time.Hour

// fleetStates are the states of a node, the worst first.
var fleetStates = []string{string(pki.Expired), string(pki.Invalid), string(pki.Missing), fleetStale, string(pki.Due), fleetSilent, fleetNone,
	fleetPaused, string(pki.Unknown), string(pki.External), string(pki.OK)}

// NewFleetNode reads what a node says. text is empty when it says nothing.
func NewFleetNode(name string, controlPlane bool, text string, at time.Time) FleetNode {
	n := FleetNode{Name: name, ControlPlane: controlPlane, State: fleetNone}
	if text == "" {
		n.Why = "no report: kubecertd does not run there, or node.condition is false"
		return n
	}
	s, err := renew.ReadSummary(text)
	if err != nil {
		n.Why = "its report is not understood: " + err.Error()
		return n
	}
	n.Report = &s
	states := []string{string(pki.OK)}
	for i, c := range s.Certificates {
		// Nobody has looked since: what has run out meanwhile is known all the same.
		if !c.NotAfter.IsZero() && !at.Before(c.NotAfter) && c.State != pki.Invalid {
			s.Certificates[i].State = pki.Expired
		}
		states = append(states, string(s.Certificates[i].State))
	}
	if len(s.Stale) > 0 {
		states = append(states, fleetStale)
	}
	if s.Paused != "" {
		states = append(states, fleetPaused)
	}
	if at.Sub(s.Looked) > fleetQuiet {
		states = append(states, fleetSilent)
		n.Why = "nothing was heard of it for " + pki.Span(at.Sub(s.Looked)) + ": journalctl -u kubecertd there"
	}
	for _, state := range fleetStates {
		if slices.Contains(states, state) {
			n.State = state
			break
		}
	}
	return n
}

// Sort puts the nodes in their order.
func (f Fleet) Sort() {
	slices.SortStableFunc(f.Nodes, func(a, b FleetNode) int {
		return cmp.Or(a.looked().Compare(b.looked()), cmp.Compare(a.Name, b.Name))
	})
}

func (n FleetNode) looked() time.Time {
	if n.Report == nil {
		return time.Time{}
	}
	return n.Report.Looked
}

// First is the certificate of a node that ends first.
func (n FleetNode) First() (first renew.SummarizedCert) {
	if n.Report != nil {
		for _, c := range n.Report.Certificates {
			if !c.NotAfter.IsZero() && (first.NotAfter.IsZero() || c.NotAfter.Before(first.NotAfter)) {
				first = c
			}
		}
	}
	return first
}

// row is what both tables say of a node.
func (f Fleet) row(n FleetNode) []string {
	first := n.First()
	looked, due, stale, version := "never", "-", "-", "-"
	if r := n.Report; r != nil {
		looked, version = pki.Span(f.At.Sub(r.Looked))+" ago", dash(r.Version)
		if !r.Due.IsZero() {
			due = remaining(r.Due, f.At)
		}
		if len(r.Stale) > 0 {
			stale = strings.Join(r.Stale, ", ")
		}
	}
	return []string{n.Name, n.State, dash(first.Name), remaining(first.NotAfter, f.At), date(first.NotAfter), looked, due, stale, version}
}

var fleetTitles = []string{"NODE", "STATE", "ENDS FIRST", "LEFT", "EXPIRES", "LOOKED AT", "RENEWS IN", "NOT LOADED BY", "VERSION"}

// WriteTable writes the fleet for programs and pipes.
func (f Fleet) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(fleetTitles, "\t"))
	for _, n := range f.Nodes {
		cells := f.row(n)
		for i := range cells {
			cells[i] = printable(cells[i])
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, line := range f.below() {
		fmt.Fprintln(w, printable(line))
	}
	return nil
}

// WriteTerminal writes the fleet for a person at a terminal, in as many columns as fit.
func (f Fleet) WriteTerminal(w io.Writer, v View) error {
	columns := []column{
		{least: 8, fair: 16, rank: 0}, {rank: 0}, {least: 9, fair: len("apiserver-kubelet-client"), front: true, rank: 2}, {rank: 0},
		{least: len(time.DateOnly), rank: 3}, {rank: 1}, {rank: 5}, {least: 9, fair: 14, rank: 4}, {rank: 6},
	}
	for i := range columns {
		columns[i].title = fleetTitles[i]
	}
	for _, n := range f.Nodes {
		for i, text := range f.row(n) {
			c := cell{text: printable(text)}
			switch i {
			case 1, 3:
				c.style = fleetStyle(n.State)
			case 4:
				c.brief = strings.Split(text, " ")[0]
			}
			columns[i].cells = append(columns[i].cells, c)
		}
	}
	var b bytes.Buffer
	v.wrap(&b, f.Summary())
	b.WriteString("\n")
	if len(f.Nodes) > 0 {
		v.table(&b, columns, len(f.Nodes))
		b.WriteString("\n")
	}
	for _, line := range f.below() {
		v.wrap(&b, line)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func fleetStyle(state string) string {
	switch state {
	case fleetStale, fleetSilent, fleetPaused:
		return yellow
	default:
		return style(pki.State(state))
	}
}

// Summary counts the nodes, the worst first.
func (f Fleet) Summary() string {
	counts := map[string]int{}
	for _, n := range f.Nodes {
		counts[n.State]++
	}
	nodes := fmt.Sprintf("%d nodes", len(f.Nodes))
	if len(f.Nodes) == 1 {
		nodes = "1 node"
	}
	var parts []string
	for _, state := range fleetStates {
		switch {
		case counts[state] > 0 && state == fleetNone:
			parts = append(parts, fmt.Sprintf("%d without a report", counts[state]))
		case counts[state] > 0:
			parts = append(parts, fmt.Sprintf("%d %s", counts[state], state))
		}
	}
	return strings.TrimSuffix(fmt.Sprintf("%s at %s: %s", nodes, f.At.UTC().Format(pki.TimeLayout), strings.Join(parts, ", ")), ": ")
}

// below are the sentences under the table.
func (f Fleet) below() []string {
	lines := []string{f.TurnText()}
	for _, n := range f.Nodes {
		if n.Why != "" {
			lines = append(lines, n.Name+": "+n.Why)
		}
		r := n.Report
		if r == nil {
			continue
		}
		for _, c := range r.Certificates {
			switch c.State {
			case pki.OK, pki.External, pki.Unknown:
			default:
				lines = append(lines, fmt.Sprintf("%s: %s is %s%s", n.Name, c.Name, c.State, ended(c)))
			}
		}
		if len(r.Stale) > 0 {
			lines = append(lines, fmt.Sprintf("%s: what is on disk is not loaded by %s", n.Name, strings.Join(r.Stale, ", ")))
		}
		if r.Paused != "" {
			lines = append(lines, n.Name+": "+r.Paused)
		}
		if n.Working {
			lines = append(lines, n.Name+": a run is at work")
		}
	}
	return lines
}

func ended(c renew.SummarizedCert) string {
	if c.NotAfter.IsZero() {
		return ""
	}
	return " (" + date(c.NotAfter) + ")"
}

// TurnText says whose turn it is.
func (f Fleet) TurnText() string {
	switch {
	case f.TurnUnknown != "":
		return "Turn: it cannot be told whose it is: " + f.TurnUnknown
	case f.Turn == "":
		return "Turn: nobody's"
	}
	text := "Turn: " + f.Turn
	if !f.Since.IsZero() {
		text += ", for " + pki.Span(max(f.At.Sub(f.Since), 0))
	}
	if f.Reason != "" {
		text += ": " + f.Reason
	}
	return text
}
