package report

import (
	"fmt"
	"io"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// WriteTurn writes whose turn it is, for people.
func WriteTurn(w io.Writer, s renew.TurnStatus) {
	if s.Error != "" {
		fmt.Fprintf(w, "Turn: it cannot be told whose it is: %s\n", s.Error)
		return
	}
	switch {
	case s.Unknown != "":
		fmt.Fprintf(w, "Turn: held by nobody knows whom: %s\n", s.Unknown)
	case s.Holder == "":
		fmt.Fprintln(w, "Turn: nobody's")
	default:
		who := s.Holder
		if s.Own {
			who += " (this node)"
		}
		if s.Age > 0 {
			who += ", for " + pki.Span(time.Duration(s.Age)*time.Second)
		}
		if s.Reason != "" {
			who += ": " + s.Reason
		}
		fmt.Fprintf(w, "Turn: %s\n", who)
		if s.Failed != "" {
			fmt.Fprintf(w, "  its run failed: %s\n  repair it, and it is given back; or let the others go on: kubecertd lock release %s\n", s.Failed, s.Holder)
		}
	}
	if f := s.Facts; f != nil {
		fmt.Fprintf(w, "  its node: %s; its etcd member: %s; its API server: %s\n", f.Node, f.Member, f.API)
	}
	if s.Gone != "" {
		fmt.Fprintf(w, "  it seems to be gone, and is passed: %s\n", s.Gone)
	}
	for _, h := range s.Behind {
		fmt.Fprintf(w, "  was passed: %s, since %s: %s\n", h.Holder, h.Since.UTC().Format(pki.TimeLayout), dash(h.Failed))
	}
	for _, n := range s.Notices {
		fmt.Fprintf(w, "  %s\n", n)
	}
}
