package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// WritePlan writes a plan for people.
func WritePlan(w io.Writer, p renew.Plan) {
	writePaused(w, p.Paused)
	if !p.Work() {
		fmt.Fprintln(w, "Nothing to do.")
	}
	if len(p.Renew) > 0 {
		fmt.Fprintln(w, "Renew:")
		for _, r := range p.Renew {
			fmt.Fprintf(w, "  %-26s %s\n", r.Certificate, r.Reason)
		}
	}
	if p.Afresh != "" {
		fmt.Fprintf(w, "Start the control plane afresh: %s.\n", p.Afresh)
	}
	if len(p.Restart) > 0 {
		fmt.Fprintln(w, "Restart, in this order:")
		if p.KubeletFirst != "" && p.Afresh == "" {
			fmt.Fprintf(w, "  kubelet, so that nothing waits: %s\n", p.KubeletFirst)
		}
		for _, r := range p.Restart {
			fmt.Fprintf(w, "  %-26s %s\n", r.Component, r.Reason)
		}
		if p.Alone {
			fmt.Fprintln(w, "  (no other member shares this etcd: etcd and kube-apiserver go down together, which is the shortest outage)")
		}
	}
	if p.Turn != nil && p.Turn.Decision.Verdict != renew.TurnWait { // a gate says it else
		fmt.Fprintf(w, "Turn: %s: %s\n", p.Turn.Decision.Verdict, p.Turn.Decision.Reason)
	}
	if p.Urgent != "" {
		fmt.Fprintf(w, "It waits for no window and no turn: %s\n", p.Urgent)
	}
	if len(p.Copies) > 0 {
		fmt.Fprintln(w, "Refresh copies:")
		for _, c := range p.Copies {
			fmt.Fprintf(w, "  %-26s %s\n", c.Path, c.Reason)
		}
	}
	if len(p.Blocked) > 0 {
		fmt.Fprintln(w, "Blocked; nothing is touched until these are open:")
		for _, g := range p.Blocked {
			fmt.Fprintf(w, "  %s: %s\n    %s\n", g.Name, g.Reason, g.Remedy)
		}
	}
	for _, n := range p.Notices {
		fmt.Fprintf(w, "Needs attention: %s\n", n)
	}
	if !p.Next.IsZero() {
		fmt.Fprintf(w, "Next: %s in %s (%s)\n", p.NextReason, pki.Span(p.Next.Sub(p.At)), p.Next.UTC().Format(pki.TimeLayout))
	}
}

// writePaused says first that nothing is touched, whatever follows.
func writePaused(w io.Writer, p *renew.Pause) {
	if p != nil {
		fmt.Fprintf(w, "Kubecertd is %s. It touches nothing until then; at once: kubecertd resume\n", p)
	}
}

// WriteHistory writes the recorded runs for people, newest first.
func WriteHistory(w io.Writer, runs []renew.Run) error {
	if len(runs) == 0 {
		_, err := fmt.Fprintln(w, "No runs yet.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "RUN\tBEGAN\tTOOK\tOUTCOME\tTRIGGER\tRENEWED\tRESTARTED\tERROR")
	for i := len(runs) - 1; i >= 0; i-- {
		r := runs[i]
		took := "-"
		if !r.Ended.IsZero() {
			took = r.Ended.Sub(r.Began).Round(100 * time.Millisecond).String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", r.ID, date(r.Began), took, r.Outcome, dash(r.Trigger),
			len(r.Renewed), dash(strings.Join(r.Restarted, ",")), dash(r.Error))
	}
	return t.Flush()
}

// WriteRun writes one recorded run, step by step.
func WriteRun(w io.Writer, r renew.Run) error {
	fmt.Fprintf(w, "Run %s, %s, trigger: %s\n", r.ID, r.Outcome, dash(r.Trigger))
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, e := range r.Entries {
		text := e.Reason
		if e.Error != "" {
			text = e.Error
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", e.Time.UTC().Format("15:04:05.000"), e.Step, e.Event, text)
	}
	return t.Flush()
}
