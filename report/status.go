package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// Status is one look, as `kubecertd status` gives it out. Its JSON form is for
// programs and only ever grows.
type Status struct {
	At           time.Time         `json:"at"`
	Certificates []Certificate     `json:"certificates"`
	Components   []renew.Component `json:"components,omitempty"`
	Problems     []renew.Problem   `json:"problems,omitempty"`
	// Turn is whose turn it is among the control-plane nodes, where it was asked for.
	Turn *renew.TurnStatus `json:"turn,omitempty"`
	// Paused is the pause that is in force.
	Paused *renew.Pause `json:"paused,omitempty"`
	// Busy is what else is at work on the host, and waited for.
	Busy []renew.Busy `json:"busy,omitempty"`
	// Copies are the kubeconfigs that may be copies of admin.conf.
	Copies []renew.CopyVerdict `json:"copies,omitempty"`
	// Next is when the next certificate becomes due.
	Next       time.Time `json:"next,omitzero"`
	NextReason string    `json:"nextReason,omitempty"`
	// Disk says that only files were looked at, so that nothing is known about what
	// is loaded.
	Disk bool `json:"disk,omitempty"`
}

// Certificate is a certificate with what was decided about it and who has loaded
// it.
type Certificate struct {
	pki.Certificate
	// State hides the file's own state: it knows due as well.
	State     pki.State `json:"state"`
	Reason    string    `json:"reason"`
	Remaining int64     `json:"remainingSeconds"`
	RenewAt   time.Time `json:"renewAt,omitzero"`
	// AlarmAt is when a watched one becomes worse than it is.
	AlarmAt time.Time `json:"alarmAt,omitzero"`
	// Loaded sums up the holders: loaded, stale, unknown, or empty where no process
	// holds the certificate.
	Loaded  renew.Verdict `json:"loaded,omitempty"`
	Holders []renew.Proof `json:"holders,omitempty"`
}

// NewStatus makes a Status of a look. disk says that only files were looked at.
func NewStatus(look renew.Look, disk bool) Status {
	o := look.Observation
	s := Status{At: o.At, Components: o.Components, Problems: o.Problems, Disk: disk,
		Paused: o.Paused, Busy: o.Busy, Copies: o.Verdicts(),
		Next: look.Plan.Next, NextReason: look.Plan.NextReason}
	s.Certificates = make([]Certificate, 0, len(o.Certificates))
	for i, c := range o.Certificates {
		d := look.Plan.Decisions[i]
		row := Certificate{Certificate: c, State: d.State, Reason: d.Reason,
			Remaining: int64(c.Remaining(o.At) / time.Second), RenewAt: d.At, AlarmAt: d.Alarm}
		if !disk {
			for _, p := range look.Proofs {
				if p.Certificate == c.Name {
					row.Holders = append(row.Holders, p)
				}
			}
			row.Loaded = sum(row.Holders)
		}
		s.Certificates = append(s.Certificates, row)
	}
	for _, served := range o.Served {
		if e := served.Endpoint; served.Error != "" {
			s.Problems = append(s.Problems, renew.Problem{What: e.Component + " shows no " + e.Name, Err: served.Error})
		}
	}
	return s
}

// sum is the verdict over all holders: the worst that is proven counts.
func sum(proofs []renew.Proof) renew.Verdict {
	var verdict renew.Verdict
	for _, p := range proofs {
		switch {
		case p.Verdict == renew.Stale:
			return renew.Stale
		case p.Verdict == renew.Unknown || verdict == "":
			verdict = p.Verdict
		}
	}
	return verdict
}

// WriteTable writes the status for people. wide adds what is needed to check it by
// hand.
func (s Status) WriteTable(w io.Writer, wide bool) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	header := "CERTIFICATE\tSTATE\tEXPIRES\tREMAINING\tRENEWS IN\tLOADED"
	if wide {
		header += "\tCA\tSERIAL\tPATH\tREASON"
	}
	fmt.Fprintln(t, header)
	for _, c := range s.Certificates {
		if c.State == pki.Missing && c.Optional && !wide {
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s", c.Name, c.State, date(c.NotAfter), remaining(c.NotAfter, s.At),
			renews(c, s.At), s.loaded(c))
		if wide {
			fmt.Fprintf(t, "\t%s\t%s\t%s\t%s", dash(c.CA), dash(c.Serial), cmp.Or(c.Path, c.Address), c.Reason)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if wide {
		if err := s.writeEvidence(w); err != nil {
			return err
		}
	}
	s.writeFooter(w)
	return nil
}

// writeEvidence writes, for every holder, why it is believed to have loaded its
// certificates or not.
func (s Status) writeEvidence(w io.Writer) error {
	if s.Disk {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "\nCOMPONENT\tCERTIFICATE\tVERDICT\tEVIDENCE")
	for _, c := range s.Certificates {
		for _, p := range c.Holders {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", p.Component, p.Certificate, p.Verdict, p.Evidence)
		}
	}
	return t.Flush()
}

func (s Status) writeFooter(w io.Writer) {
	fmt.Fprintln(w)
	writePaused(w, s.Paused)
	if s.Turn != nil && (s.Turn.Holder != "" || s.Turn.Unknown != "") {
		WriteTurn(w, *s.Turn)
	}
	for _, b := range s.Busy {
		fmt.Fprintf(w, "Waited for: %s\n", b.Detail)
	}
	for _, c := range s.Certificates {
		quiet := c.State == pki.OK || (c.State == pki.Missing && c.Optional) || c.State == pki.External || c.State == pki.Unknown // whose problem is said below
		if !quiet {
			where := " (" + cmp.Or(c.Path, c.Address) + ")"
			if c.Watched {
				where = "" // its name says it
			}
			fmt.Fprintf(w, "%s: %s: %s%s\n", c.Name, c.State, c.Reason, where)
		}
		for _, p := range c.Holders {
			if p.Verdict == renew.Stale {
				fmt.Fprintf(w, "%s has not loaded %s: %s\n", p.Component, p.Certificate, p.Evidence)
			}
		}
	}
	for _, c := range s.Copies {
		if c.State == renew.CopyStale || (c.Configured && c.State != renew.CopyCurrent) {
			fmt.Fprintf(w, "%s: %s copy: %s\n", c.Path, c.State, c.Reason)
		}
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "%s: %s\n", p.What, p.Err)
	}
	if len(s.Certificates) == 0 {
		fmt.Fprintln(w, "No certificates of a kubeadm cluster were found: is this node initialised or joined? (paths.kubernetes, paths.kubelet)")
		return
	}
	if !s.Next.IsZero() {
		fmt.Fprintf(w, "Next: %s in %s (%s)\n", s.NextReason, pki.Span(s.Next.Sub(s.At)), s.Next.UTC().Format(pki.TimeLayout))
	}
}

// loaded is the last column: who has, or has not, taken up what is on disk.
func (s Status) loaded(c Certificate) string {
	if c.Watched {
		return "-"
	}
	if s.Disk {
		return "not asked"
	}
	if c.Kind == pki.Memory {
		return "in memory of " + c.Component
	}
	if c.Loaded == "" {
		return "-"
	}
	if c.Loaded == renew.Loaded {
		return "loaded"
	}
	var holders []string
	for _, p := range c.Holders {
		if p.Verdict == c.Loaded {
			holders = append(holders, p.Component)
		}
	}
	return string(c.Loaded) + ": " + strings.Join(holders, ", ")
}

func renews(c Certificate, at time.Time) string {
	switch {
	case c.Watched:
		return "watched"
	case c.Renewer == pki.Kubelet:
		return "by kubelet"
	case c.RenewAt.IsZero():
		return "-"
	case c.Renewer == pki.Restart && c.RenewAt.After(at):
		return pki.Span(c.RenewAt.Sub(at)) + " (restart)"
	case !c.RenewAt.After(at):
		return "now"
	default:
		return pki.Span(c.RenewAt.Sub(at))
	}
}
