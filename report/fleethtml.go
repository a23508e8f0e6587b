package report

import (
	_ "embed"
	"html/template"
	"io"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

//go:embed fleet.html
var fleetPage string

// fleetTemplate is the page. html/template keeps what nodes say from being read as HTML.
var fleetTemplate = template.Must(template.New("fleet").Parse(fleetPage))

// WriteHTML writes the fleet as one page that needs nothing beside it: no script, no
// picture and no font of others.
func (f Fleet) WriteHTML(w io.Writer) error {
	axis := newAxis(f)
	page := fleetView{Title: f.Summary(), Turn: f.TurnText(), Marks: axis.marks()}
	for _, n := range f.Nodes {
		cells := f.row(n)
		row := fleetRow{Name: n.Name, State: n.State, Role: "worker", Looked: cells[5], Due: cells[6], Version: cells[8], Why: n.Why}
		if n.ControlPlane {
			row.Role = "control plane"
		}
		if n.Name == f.Turn {
			row.Role += ", has the turn"
		}
		if r := n.Report; r != nil {
			row.Stale, row.Paused, row.Omitted = r.Stale, r.Paused, r.Omitted
			for _, c := range r.Certificates {
				row.Certificates = append(row.Certificates, axis.bar(c))
			}
		}
		page.Nodes = append(page.Nodes, row)
	}
	return fleetTemplate.Execute(w, page)
}

// fleetView is what the page shows.
type fleetView struct {
	Title, Turn string
	Marks       []fleetMark
	Nodes       []fleetRow
}

type fleetRow struct {
	Name, State, Role, Looked, Due, Version, Why, Paused string
	Stale                                                []string
	Omitted                                              int
	Certificates                                         []fleetBar
}

// fleetBar is a certificate on the timeline: how far it reaches, of a thousand.
type fleetBar struct {
	Name, State, Date, Stamp, Left string
	Width                          int
	Beyond                         bool // the timeline ends before it does
}

// fleetMark is a date on the timeline.
type fleetMark struct {
	X    int
	Text string
}

// axis is the timeline of all nodes, from now on.
type axis struct {
	now  time.Time
	span time.Duration
}

// A timeline shows at least a month and at most two years: next to a CA's ten years
// nobody could tell a month from a year.
const (
	leastSpan = 30 * 24 * time.Hour
	mostSpan  = 2 * 365 * 24 * time.Hour
	axisWidth = 1000
)

// newAxis reaches as far as the last certificate that is not beyond it.
func newAxis(f Fleet) axis {
	a := axis{f.At, leastSpan}
	for _, n := range f.Nodes {
		if n.Report == nil {
			continue
		}
		for _, c := range n.Report.Certificates {
			if left := c.NotAfter.Sub(f.At); left <= mostSpan {
				a.span = max(a.span, left)
			}
		}
	}
	return a
}

func (a axis) bar(c renew.SummarizedCert) fleetBar {
	b := fleetBar{Name: c.Name, State: string(c.State), Date: date(c.NotAfter), Left: remaining(c.NotAfter, a.now)}
	if c.NotAfter.IsZero() {
		return b
	}
	b.Stamp = c.NotAfter.UTC().Format(time.RFC3339)
	left := c.NotAfter.Sub(a.now)
	b.Beyond = left > a.span
	if left > 0 { // and be it a minute
		b.Width = max(1, int(float64(min(left, a.span))/float64(a.span)*axisWidth))
	}
	return b
}

// marks are now and three more dates.
func (a axis) marks() []fleetMark {
	marks := []fleetMark{{0, "now"}}
	for i := 1; i <= 3; i++ {
		part := a.span / 4 * time.Duration(i)
		marks = append(marks, fleetMark{axisWidth / 4 * i, pki.Span(part.Truncate(24 * time.Hour))})
	}
	return marks
}
