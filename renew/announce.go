package renew

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// announcements is the cluster as it hears of this node.
type announcements interface {
	// Said is what the node has said so far.
	Said(ctx context.Context, node string) (Said, error)
	// Say writes the condition, with since when its status is that, and the summary.
	Say(ctx context.Context, node string, c Condition, at, since time.Time, summary string) error
	MakeEvent(ctx context.Context, node, uid string, e NodeEvent) error
	// RepeatEvent says that an event has happened again. there is false when the cluster
	// has forgotten it.
	RepeatEvent(ctx context.Context, node string, e NodeEvent, count int) (there bool, err error)
}

// Said is what the cluster has of this node.
type Said struct {
	UID       string
	Condition Condition
	// At is when the condition was last written, Since since when its status is that.
	At, Since time.Time
	Summary   string
}

// AnnounceOptions say what the cluster is told, and how.
type AnnounceOptions struct {
	Cluster announcements
	Version string
	// Condition writes the node's condition and summary, Events its events.
	Condition, Events bool
}

const (
	// beatEvery is how often what has not changed is written again, so that others see
	// that somebody looks.
	beatEvery = 6 * time.Hour
	// keptEvents and keptFor bound what is kept for an API server that is away.
	keptEvents = 100
	keptFor    = 10 * time.Minute
	// tellWithin bounds one attempt to tell all of it.
	tellWithin = time.Minute
	// settling is for how long a look is not told of that will be acted on: the one after
	// the run is.
	settling = 15 * time.Minute
)

// Announcer tells the cluster how this node is: what its loop reports, on a goroutine of
// its own, so that no look and no run waits for an API server.
type Announcer struct {
	now  func() time.Time
	log  *zap.Logger
	wake chan struct{}

	mu      sync.Mutex
	options AnnounceOptions
	node    string
	state   *announced // what is to be written; nil when nothing is
	queue   []NodeEvent
	found   map[string]bool // what the last look found, so that each finding is one event
	acting  time.Time       // the first of the looks that will be acted on

	// What follows belongs to Run.
	written *announced
	made    map[string]*madeEvent // by NodeEvent.key
	warned  bool
}

// announced is a look as it is told.
type announced struct {
	condition Condition
	summary   Summary
	at        time.Time
}

// NewAnnouncer makes one. Its Run tells what it hears.
func NewAnnouncer(log *zap.Logger, now func() time.Time) *Announcer {
	return &Announcer{now: now, log: log, wake: make(chan struct{}, 1), made: map[string]*madeEvent{}}
}

// Apply tells it what to tell from now on.
func (a *Announcer) Apply(o AnnounceOptions) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.options = o
	if !o.Condition {
		a.state = nil
	}
	if !o.Events {
		a.queue = nil
	}
}

// Looked hears of a look.
func (a *Announcer) Looked(l Look) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if node := l.Observation.node(); node != "" {
		a.node = node
	}
	at := l.Observation.At
	willAct := l.Plan.Work() && len(l.Plan.Blocked) == 0
	switch {
	case !willAct:
		a.acting = time.Time{}
	case a.acting.IsZero():
		a.acting = at
	}
	if a.options.Condition && (!willAct || at.Sub(a.acting) >= settling) {
		a.state = &announced{Judge(l), Summarize(l, a.options.Version), at}
	}
	if a.options.Events {
		found := map[string]bool{}
		for _, e := range lookEvents(l) {
			if found[e.key()] = true; !a.found[e.key()] {
				a.keep(e)
			}
		}
		a.found = found
	}
	a.ring()
}

// Ran hears of a run that has ended.
func (a *Announcer) Ran(r Run) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.options.Events {
		for _, e := range runEvents(r, a.now()) {
			a.keep(e)
		}
	}
	a.ring()
}

// keep keeps an event until it is told. Of too many the oldest are dropped.
func (a *Announcer) keep(e NodeEvent) {
	e.ID = newID(e.At)
	a.queue = append(a.queue, e)
	if more := len(a.queue) - keptEvents; more > 0 {
		a.queue = slices.Delete(a.queue, 0, more)
	}
}

// ring wakes Run, or leaves it awake.
func (a *Announcer) ring() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run tells what is heard until the context ends. It wakes for nothing else, but for what
// could not be told: that is tried again for ten minutes.
func (a *Announcer) Run(ctx context.Context) {
	var again <-chan time.Time
	var wait time.Duration
	var failing time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-again:
		}
		again = nil
		a.forget()
		err := a.tell(ctx)
		if err == nil {
			wait, failing, a.warned = 0, time.Time{}, false
			continue
		}
		if ctx.Err() != nil {
			return
		}
		a.log.Debug("the cluster could not be told of this node's certificates", zap.Error(err))
		if now := a.now(); failing.IsZero() || wait == 0 {
			failing = now
		} else if now.Sub(failing) >= keptFor {
			if !a.warned {
				a.log.Warn("the cluster does not hear of this node's certificates; the next look tries again", event(EventNotice), zap.Error(err))
			}
			a.warned, wait = true, 0
			continue
		}
		wait = min(max(2*wait, 5*time.Second), time.Minute)
		again = time.After(wait)
	}
}

// forget drops the events that are too old to be told.
func (a *Announcer) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	a.queue = slices.DeleteFunc(a.queue, func(e NodeEvent) bool { return now.Sub(e.At) > keptFor })
}

// tell tells the cluster what there is to tell.
func (a *Announcer) tell(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	a.mu.Lock()
	to, node, state, queue := a.options.Cluster, a.node, a.state, slices.Clone(a.queue)
	a.mu.Unlock()
	if state != nil && a.isWritten(*state) {
		a.told(state)
		state = nil
	}
	if to == nil || node == "" || state == nil && len(queue) == 0 {
		return nil
	}
	said, err := to.Said(ctx, node)
	if err != nil {
		return err
	}
	if state != nil {
		if err := a.say(ctx, to, node, said, *state); err != nil {
			return err
		}
		a.told(state)
	}
	for _, e := range queue {
		if err := a.tellEvent(ctx, to, node, said.UID, e); err != nil {
			return err
		}
		a.toldEvent(e)
	}
	return nil
}

// isWritten says that the cluster has heard the same not long ago.
func (a *Announcer) isWritten(s announced) bool {
	w := a.written
	return w != nil && w.condition == s.condition && w.summary.same(s.summary) && recent(w.at, s.at)
}

func recent(written, now time.Time) bool {
	age := now.Sub(written)
	return age >= 0 && age < beatEvery
}

// say writes a state, unless the cluster has it from before this daemon was started.
func (a *Announcer) say(ctx context.Context, to announcements, node string, said Said, s announced) error {
	if a.written == nil {
		if before, err := ReadSummary(said.Summary); err == nil && said.Condition == s.condition && before.same(s.summary) && recent(said.At, s.at) {
			a.written = &announced{s.condition, s.summary, said.At}
			return nil
		}
	}
	since := s.at
	if said.Condition.Status == s.condition.Status && !said.Since.IsZero() {
		since = said.Since
	}
	if err := to.Say(ctx, node, s.condition, s.at, since, s.summary.text()); err != nil {
		return err
	}
	a.written = &s
	return nil
}

// told takes away what was told, unless something newer has come meanwhile.
func (a *Announcer) told(s *announced) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state == s {
		a.state = nil
	}
}

func (a *Announcer) toldEvent(e NodeEvent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = slices.DeleteFunc(a.queue, func(other NodeEvent) bool { return other.ID == e.ID })
}
