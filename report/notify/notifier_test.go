package notify_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report/notify"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var every = []string{notify.Due, notify.Renewed, notify.Restarted, notify.Failed, notify.PutBack, notify.Stale, notify.CAExpiring, notify.Blocked, notify.Noticed, notify.Recovered}

// inbox is a target that keeps what it is told.
type inbox struct {
	*httptest.Server
	events chan notify.Event
}

func newInbox(t *testing.T) inbox {
	t.Helper()
	in := inbox{events: make(chan notify.Event, 100)}
	in.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e notify.Event
		content, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(content, &e)
		}
		if err != nil {
			t.Errorf("%s: %v", content, err)
		}
		in.events <- e
	}))
	t.Cleanup(in.Close)
	return in
}

func webhook(url string, events ...string) notify.Target {
	return notify.Target{Name: "hook", Type: "webhook", URL: url, Events: events, Timeout: 10 * time.Second, Repeat: 24 * time.Hour, BlockedAfter: time.Hour}
}

// told ends the notifier and returns what the target was told, in order.
func (in inbox) told(n *notify.Notifier) []string {
	n.Close()
	var got []string
	for len(in.events) > 0 {
		e := <-in.events
		line := e.Event
		if e.Of != "" {
			line += " of " + e.Of
		}
		if e.About != "" {
			line += " " + e.About
		}
		got = append(got, line)
	}
	return got
}

func start(url string, events ...string) *notify.Notifier {
	n := notify.New(zap.NewNop())
	n.Apply(notify.Settings{Node: "cp1", Targets: []notify.Target{webhook(url, events...)}})
	return n
}

// at is a look so long after now.
func at(after time.Duration, change ...func(*renew.Look)) renew.Look {
	l := renew.Look{Observation: renew.Observation{At: now.Add(after)}}
	for _, c := range change {
		c(&l)
	}
	return l
}

func blocked(gate string) func(*renew.Look) {
	return func(l *renew.Look) {
		l.Plan.Restart = []renew.Restart{{Component: renew.Scheduler}}
		l.Plan.Blocked = []renew.Gate{{Name: gate, Reason: "why", Remedy: "what"}}
	}
}

func notice(id, text string) func(*renew.Look) {
	return func(l *renew.Look) {
		l.Plan.Notices = append(l.Plan.Notices, renew.Notice{ID: id, Severity: renew.Warning, About: "ca", Text: text})
	}
}

func stale(l *renew.Look) {
	l.Proofs = []renew.Proof{{Component: renew.Scheduler, Certificate: "scheduler.conf", Verdict: renew.Stale, Evidence: "older"}}
}

func failing(l *renew.Look) {
	l.Observation.Failures = map[string]renew.Failure{"renew apiserver": {Count: 1}}
}

func works(l *renew.Look) { l.Plan.Restart = []renew.Restart{{Component: renew.Scheduler}} }

func blind(l *renew.Look) {
	l.Observation.Problems = []renew.Problem{{What: "containers", Err: "gone"}}
}

func failed(id, why string) renew.Run {
	return renew.Run{ID: id, Outcome: renew.Failed, Error: why, Ended: now, Renewed: []string{"apiserver"}, Restarted: []string{renew.APIServer}, Entries: []renew.Entry{
		{Step: "put back scheduler.conf", Event: "begin"}, {Step: "put back scheduler.conf", Event: "end"}}}
}

// The same finding is told once, again when it changes or after Repeat, and once more when
// it is over.
func TestWhatIsTold(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	for _, test := range []struct {
		name   string
		events []string
		happen func(*notify.Notifier)
		want   []string
	}{
		{"nothing of nothing", every, func(n *notify.Notifier) { n.Looked(at(0)) }, nil},
		{"once", every, func(n *notify.Notifier) {
			n.Looked(at(0, notice("ca-ends", "it ends in 300 days")))
			n.Looked(at(hour, notice("ca-ends", "it ends in 299 days")))
		}, []string{"ca-expiring ca"}},
		{"again when it changes", every, func(n *notify.Notifier) {
			n.Looked(at(0, notice("ca-ends", "it ends in 300 days")))
			n.Looked(at(hour, notice("ca-ends", "it has ended")))
		}, []string{"ca-expiring ca", "ca-expiring ca"}},
		{"again after a day", every, func(n *notify.Notifier) {
			n.Looked(at(0, notice("own-certificate", "one")))
			n.Looked(at(23*hour, notice("own-certificate", "one")))
			n.Looked(at(24*hour, notice("own-certificate", "one")))
			n.Looked(at(25*hour, notice("own-certificate", "one")))
		}, []string{"notice ca", "notice ca"}},
		{"until it is over, and when it comes back", every, func(n *notify.Notifier) {
			n.Looked(at(0, notice("own-certificate", "one")))
			n.Looked(at(hour))
			n.Looked(at(2 * hour))
			n.Looked(at(3*hour, notice("own-certificate", "one")))
		}, []string{"notice ca", "recovered of notice ca", "notice ca"}},
		{"not over when nothing could be seen", every, func(n *notify.Notifier) {
			n.Looked(at(0, notice("own-certificate", "one")))
			n.Looked(at(hour, blind))
		}, []string{"notice ca"}},
		{"a gate when it is closed for long", every, func(n *notify.Notifier) {
			n.Looked(at(0, blocked("turn")))
			n.Looked(at(hour-1, blocked("turn")))
			n.Looked(at(hour, blocked("turn")))
			n.Looked(at(2*hour, blocked("turn")))
			n.Looked(at(3 * hour))
		}, []string{"blocked turn", "recovered of blocked turn"}},
		{"no gate that opens soon", every, func(n *notify.Notifier) {
			n.Looked(at(0, blocked("turn")))
			n.Looked(at(time.Minute))
			n.Looked(at(hour, blocked("turn")))
		}, nil},
		{"a hook's gate, which each look opens", every, func(n *notify.Notifier) {
			for i := range 62 {
				n.Looked(at(time.Duration(i)*time.Minute, works))
				n.Looked(at(time.Duration(i)*time.Minute, blocked("hook")))
			}
		}, []string{"blocked hook"}},
		{"what a run cures is not stale", every, func(n *notify.Notifier) { n.Looked(at(0, stale, works)); n.Looked(at(hour)) }, nil},
		{"what no run cures is", every, func(n *notify.Notifier) {
			n.Looked(at(0, stale))
			n.Looked(at(hour, stale, works))
			n.Looked(at(2 * hour))
		},
			[]string{"stale kube-scheduler", "recovered of stale kube-scheduler"}},
		{"a run", every, func(n *notify.Notifier) {
			n.Ran(renew.Run{ID: "1", Outcome: renew.Done, Renewed: []string{"apiserver"}, Restarted: []string{renew.APIServer}, Ended: now})
		}, []string{"renewed", "restarted"}},
		{"a failed run, again and again", every, func(n *notify.Notifier) {
			n.Ran(failed("1", "kubeadm: snapshot 20260301T120000.000Z-abcdef"))
			n.Looked(at(0, failing))
			n.Ran(failed("2", "kubeadm: snapshot 20260301T130000.000Z-fedcba"))
			n.Looked(at(hour, failing))
		}, []string{"renewed", "restarted", "failed", "put-back scheduler.conf", "renewed", "restarted"}},
		{"a failed run, another way", []string{notify.Failed, notify.Recovered}, func(n *notify.Notifier) {
			n.Ran(failed("1", "kubeadm"))
			n.Ran(failed("2", "no space"))
			n.Looked(at(hour))
		}, []string{"failed", "failed", "recovered of failed"}},
		{"nothing that was not asked for", []string{notify.Renewed}, func(n *notify.Notifier) {
			n.Ran(failed("1", "kubeadm"))
			n.Looked(at(0, stale, notice("ca-ends", "x")))
			n.Looked(at(hour))
		}, []string{"renewed"}},
		{"no notice of what is told otherwise", every, func(n *notify.Notifier) {
			n.Looked(at(0, notice("renewal-failed", "again"), notice(renew.NoticeHeld, "waits")))
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in := newInbox(t)
			n := start(in.URL, test.events...)
			test.happen(n)
			got, want := in.told(n), slices.Clone(test.want)
			slices.Sort(got) // what is over in one look has no order
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("told (-want +got)\n%s", diff)
			}
		})
	}
}

// What was told is not told again by a reload that changes nothing, but by one that does.
func TestApply(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	settings := func(repeat time.Duration) notify.Settings {
		target := webhook(in.URL, every...)
		target.Repeat = repeat
		return notify.Settings{Node: "cp1", Targets: []notify.Target{target}}
	}
	n := notify.New(zap.NewNop())
	look := at(0, notice("own-certificate", "one"))
	for _, repeat := range []time.Duration{time.Hour, time.Hour, 2 * time.Hour} {
		n.Apply(settings(repeat))
		n.Looked(look)
	}
	if diff := cmp.Diff([]string{"notice ca", "notice ca"}, in.told(n)); diff != "" {
		t.Errorf("told (-want +got)\n%s", diff)
	}
	n.Looked(look) // nobody listens any more
}
