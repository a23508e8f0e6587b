package notify

import (
	"reflect"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/renew"
)

// Settings say who is told of what.
type Settings struct {
	// Node is this host's name.
	Node    string
	Targets []Target
}

// Target is somebody who is told of events.
type Target struct {
	Name string
	// Type is webhook, slack, alertmanager or command.
	Type   string
	Events []string
	// URL is where it is reached; URLFile is a file with it, or the name of a systemd
	// credential. So are TokenFile, with a bearer token, and HeadersFile, with headers.
	URL, URLFile, TokenFile, HeadersFile string
	// Template makes the body of a webhook; empty is the event as JSON.
	Template string
	// Command is a program with its arguments.
	Command []string
	// Timeout is how long one attempt may take, Repeat after what time what has not
	// changed is told again, BlockedAfter how long a gate must be closed to be told of.
	Timeout, Repeat, BlockedAfter time.Duration
}

// Notifier tells its targets what the loop reports. All its methods belong to the loop's
// goroutine, and none of them waits for a target, but for Close.
type Notifier struct {
	log      *zap.Logger
	settings Settings
	listen   []*listener
	// wait is how long it waits before an attempt is made again.
	wait func(attempt int) time.Duration
}

// listener is a target with what it was told.
type listener struct {
	Target
	*sender
	open map[string]told
}

// told is something that lasts, and that a target knows of.
type told struct {
	Event
	gist string
	at   time.Time
	// since is when it was seen first. A gate may not be told of yet.
	since time.Time
	run   bool // it comes from a run, and is over when nothing fails any more
}

// New makes one that tells nobody yet.
func New(log *zap.Logger) *Notifier { return &Notifier{log: log, wait: backoff} }

// Apply tells those whom the settings name from now on. While the settings are the same,
// nothing that was told is told again.
func (n *Notifier) Apply(s Settings) {
	if reflect.DeepEqual(s, n.settings) {
		return
	}
	n.Close()
	n.settings = s
	for _, t := range s.Targets {
		n.listen = append(n.listen, &listener{Target: t, sender: n.start(t), open: map[string]told{}})
	}
}

// Close ends what is under way, and waits for it: a few seconds for what is not sent yet.
func (n *Notifier) Close() {
	senders := make([]*sender, len(n.listen))
	for i, l := range n.listen {
		senders[i] = l.sender
	}
	finish(senders)
	n.settings, n.listen = Settings{}, nil
}

// Looked tells what a look has seen.
func (n *Notifier) Looked(l renew.Look) {
	if len(n.listen) == 0 {
		return
	}
	events := seen(l)
	for _, listener := range n.listen {
		listener.looked(n.settings.Node, l, events)
	}
}

// Ran tells what a run has done.
func (n *Notifier) Ran(r renew.Run) {
	if len(n.listen) == 0 {
		return
	}
	events := did(r)
	for _, l := range n.listen {
		for _, e := range events {
			e.Node = n.settings.Node
			switch {
			case !slices.Contains(l.Events, e.Event):
			case e.lasts:
				l.tell(e, true)
			default:
				l.send(e)
			}
		}
	}
}

// looked tells one target what is new to it, and what is over.
func (l *listener) looked(node string, look renew.Look, events []Event) {
	at := look.Observation.At
	here := map[string]bool{}
	for _, e := range events {
		e.Node = node
		here[e.key()] = true
		if slices.Contains(l.Events, e.Event) && !e.quiet {
			l.tell(e, false)
		}
	}
	acts := look.Plan.Work() && len(look.Plan.Blocked) == 0
	for key, t := range l.open {
		switch {
		case t.run && (len(look.Observation.Failures) > 0 || look.Owes):
			l.tell(t.seenAt(at), true)
		case !t.run && here[key]:
		case len(look.Observation.Problems) > 0:
			// What could not be seen may be as it was.
		case t.Event.Event == Blocked && acts:
			// The gate may be closed again before the run begins: the hook's is.
		default:
			delete(l.open, key)
			if slices.Contains(l.Events, Recovered) && !t.at.IsZero() && t.Event.Event != Due {
				l.send(t.over(at))
			}
		}
	}
}

// seenAt is the event as it is at a later time.
func (e Event) seenAt(at time.Time) Event {
	e.At = at
	return e
}

// tell tells a target of what lasts, unless it knows.
func (l *listener) tell(e Event, run bool) {
	was, open := l.open[e.key()]
	if !open {
		was.since = e.At
	}
	now := told{Event: e, gist: e.gist(), at: was.at, since: was.since, run: run}
	long := e.Event != Blocked || e.At.Sub(was.since) >= l.BlockedAfter
	again := was.at.IsZero() || was.gist != now.gist || e.At.Sub(was.at) >= l.Repeat || e.At.Before(was.at)
	if long && again {
		now.at = e.At
		l.send(e)
	} else {
		now.gist = was.gist
	}
	l.open[e.key()] = now
}
