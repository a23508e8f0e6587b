// Package notify tells people and programs of what happens on a node, by the names that
// everybody else sees it by. Nobody in it keeps a look or a run waiting.
package notify

import (
	"slices"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/renew"
)

// The events there are. The same finding is told once until it changes, or is over.
const (
	Due        = "due"         // certificates are due
	Renewed    = "renewed"     // a run has renewed certificates
	Restarted  = "restarted"   // a run has restarted components
	Failed     = "failed"      // a run has failed
	PutBack    = "put-back"    // a certificate was put back as it was, or could not be
	Stale      = "stale"       // a component has not loaded what is on disk, and no run does it now
	CAExpiring = "ca-expiring" // a CA ends, or is of no use
	Blocked    = "blocked"     // a gate has been closed for long
	Noticed    = "notice"      // something else is wrong that kubecertd does not cure
	Recovered  = "recovered"   // something that was told of is over
	Test       = "test"        // kubecertd notify test
)

// Event is what is told. Its JSON is the body of a webhook, and its fields are what a
// template can use.
type Event struct {
	Event string `json:"event"`
	// Of is what has recovered.
	Of string `json:"of,omitempty"`
	// MessageID is the kind of message that the journal has of it.
	MessageID string `json:"messageId,omitempty"`
	// Finding is its entry in docs/troubleshooting.md.
	Finding  string         `json:"finding,omitempty"`
	Severity renew.Severity `json:"severity"`
	// Node is this host's name.
	Node string `json:"node"`
	// About is the certificate, component, file or gate.
	About  string `json:"about,omitempty"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
	// Run is the id of the run that it comes from.
	Run          string        `json:"run,omitempty"`
	Outcome      renew.Outcome `json:"outcome,omitempty"`
	Certificates []string      `json:"certificates,omitempty"`
	Components   []string      `json:"components,omitempty"`
	At           time.Time     `json:"at"`

	// quiet says that a run is about to cure it: nobody is told of it now, nor that it
	// is over.
	quiet bool
	// lasts says that it goes on until it is over, and does not just happen.
	lasts bool
	// was is how severe it was, of what has recovered.
	was renew.Severity
}

// key is what makes it the same finding.
func (e Event) key() string { return e.Event + "\x00" + e.Finding + "\x00" + e.About }

// gist is the text without the times and ids in it, which move from look to look and from
// run to run.
func (e Event) gist() string {
	words := slices.DeleteFunc(strings.Fields(e.Text), func(w string) bool { return strings.ContainsAny(w, "0123456789") })
	return string(e.Severity) + " " + strings.Join(words, " ")
}

// findings are the events that a node can hear of, by the notice that says it.
var findings = map[string]string{
	"ca-ends": CAExpiring, "ca-unusable": CAExpiring,
	// The proofs say it.
	"stale-not-restarted": "", "stale-though-newer": "",
	// What has failed is told when it fails, and what waits for its gate when that is long.
	"renewal-failed": "", renew.NoticeRestartFailed: "", renew.NoticeHeld: "",
}

// seen are the events of a look, each of which lasts.
func seen(l renew.Look) []Event {
	var events []Event
	add := func(e Event) {
		e.lasts, e.At = true, l.Observation.At
		if !slices.ContainsFunc(events, func(o Event) bool { return o.key() == e.key() }) {
			events = append(events, e)
		}
	}
	acts := l.Plan.Work() && len(l.Plan.Blocked) == 0
	for _, r := range l.Plan.Renew {
		add(Event{Event: Due, MessageID: renew.EventPlanned, Severity: renew.Info, About: r.Certificate, Text: r.Certificate + " is due: " + r.Reason,
			Certificates: []string{r.Certificate}})
	}
	for _, p := range l.Proofs {
		if p.Verdict == renew.Stale {
			restarts := slices.ContainsFunc(l.Plan.Restart, func(r renew.Restart) bool { return r.Component == p.Component })
			remedy := "kubecertd plan says what keeps it from being restarted"
			for _, n := range l.Plan.Notices {
				if n.About == p.Component && n.Remedy != "" {
					remedy = n.Remedy
				}
			}
			add(Event{Event: Stale, MessageID: renew.EventPlanned, Finding: "component-stale", Severity: renew.Warning, About: p.Component,
				quiet: acts && restarts, Text: p.Component + " has not loaded " + p.Certificate + ": " + p.Evidence, Remedy: remedy,
				Components: []string{p.Component}, Certificates: []string{p.Certificate}})
		}
	}
	for _, n := range l.Plan.Notices {
		name, known := findings[n.ID]
		if !known {
			name = Noticed
		}
		if name == "" || n.Severity == renew.Info {
			continue
		}
		add(Event{Event: name, MessageID: renew.EventNotice, Finding: n.ID, Severity: n.Severity, About: n.About, Text: n.Text, Remedy: n.Remedy})
	}
	for _, g := range l.Plan.Blocked {
		add(Event{Event: Blocked, MessageID: renew.EventBlocked, Severity: renew.Warning, About: g.Name, Text: "blocked by " + g.Name + ": " + g.Reason, Remedy: g.Remedy})
	}
	return events
}

// did are the events of a run.
func did(r renew.Run) []Event {
	var events []Event
	add := func(e Event) {
		e.Run, e.Outcome, e.At = r.ID, r.Outcome, r.Ended
		events = append(events, e)
	}
	if len(r.Renewed) > 0 {
		add(Event{Event: Renewed, MessageID: renew.EventRenewed, Severity: renew.Info, Text: "renewed " + strings.Join(r.Renewed, ", "), Certificates: r.Renewed})
	}
	if len(r.Restarted) > 0 {
		add(Event{Event: Restarted, MessageID: renew.EventRestarted, Severity: renew.Info, Text: "restarted " + strings.Join(r.Restarted, ", "), Components: r.Restarted})
	}
	for _, last := range r.Entries {
		name, ok := strings.CutPrefix(last.Step, "put back ")
		switch {
		case !ok || last.Event != "end":
		case last.Error == "":
			add(Event{Event: PutBack, MessageID: renew.EventPutBack, Severity: renew.Warning, About: name, lasts: true, Certificates: []string{name},
				Text: name + " was put back as it was before the run", Remedy: "kubecertd history " + r.ID})
		default:
			add(Event{Event: PutBack, MessageID: renew.EventPutBackFailed, Severity: renew.Critical, About: name, lasts: true, Certificates: []string{name},
				Text: last.Error, Remedy: "kubecertd doctor"})
		}
	}
	if r.Outcome == renew.Failed {
		add(Event{Event: Failed, MessageID: renew.EventRunFailed, Severity: renew.Critical, Text: "a run has failed: " + r.Error,
			Remedy: "kubecertd doctor; kubecertd history " + r.ID, lasts: true})
	}
	slices.SortStableFunc(events, func(a, b Event) int { return strings.Compare(a.About, b.About) })
	return events
}

// over is the event that another is over.
func (e Event) over(at time.Time) Event {
	return Event{Event: Recovered, Of: e.Event, Finding: e.Finding, Severity: renew.Info, Node: e.Node, About: e.About, Text: "it is over: " + e.Text,
		Certificates: e.Certificates, Components: e.Components, At: at, was: e.Severity}
}

// sample is an event with everything in it, to try templates and targets with.
func sample(node string, at time.Time) Event {
	return Event{Event: Test, Severity: renew.Info, Node: node, About: "apiserver", Text: "this is a test, and nothing is wrong", Remedy: "nothing is to be done",
		Certificates: []string{"apiserver"}, Components: []string{renew.APIServer}, At: at}
}
