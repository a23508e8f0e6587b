package renew_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// listener is a cluster that hears of a node.
type listener struct {
	away   atomic.Bool // no channel lies between who sets it and a timer
	asked  int         // how often it was asked for anything
	said   renew.Said
	events []string
	forgot bool // what events there were
}

var errAway = errors.New("no answer")

func (l *listener) Said(context.Context, string) (renew.Said, error) {
	l.asked++
	if l.away.Load() {
		return renew.Said{}, errAway
	}
	return l.said, nil
}

func (l *listener) Say(_ context.Context, node string, c renew.Condition, at, since time.Time, summary string) error {
	l.asked++
	l.said = renew.Said{UID: "uid of " + node, Condition: c, At: at, Since: since, Summary: summary}
	return nil
}

func (l *listener) MakeEvent(_ context.Context, _, _ string, e renew.NodeEvent) error {
	l.asked++
	l.events = append(l.events, e.Reason+": "+e.Note)
	return nil
}

func (l *listener) RepeatEvent(_ context.Context, _ string, e renew.NodeEvent, count int) (bool, error) {
	l.asked++
	if l.forgot {
		return false, nil
	}
	l.events = append(l.events, fmt.Sprintf("%s: %s (%d)", e.Reason, e.Note, count))
	return true, nil
}

// nodeLook is a look at a node now.
func nodeLook(change func(*renew.Look)) renew.Look {
	now := time.Now()
	certificate := func(name, subject string) pki.Certificate {
		return pki.Certificate{Name: name, State: pki.OK, NotAfter: epoch.AddDate(1, 0, 0),
			Leaf: &x509.Certificate{Subject: pkix.Name{CommonName: subject}}}
	}
	l := renew.Look{Observation: renew.Observation{At: now, Certificates: []pki.Certificate{
		certificate("apiserver", "kube-apiserver"), certificate("kubelet-client", "system:node:cp1")}}}
	l.Plan.Next = epoch.AddDate(0, 11, 0)
	if change != nil {
		change(&l)
	}
	return l
}

// epoch is when the time of a bubble begins (testing/synctest).
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// announce runs an announcer in a bubble of its own time.
func announce(t *testing.T, to *listener, story func(a *renew.Announcer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a := renew.NewAnnouncer(zap.NewNop(), time.Now)
		a.Apply(renew.AnnounceOptions{Cluster: to, Version: "1.2.3", Condition: true, Events: true})
		done := make(chan struct{})
		go func() { defer close(done); a.Run(ctx) }()
		story(a)
		synctest.Wait()
		cancel()
		<-done
	})
}

func expire(l *renew.Look) { l.Observation.Certificates[0].State = pki.Expired }

func TestAnnouncesWhatChanges(t *testing.T) {
	to := &listener{}
	announce(t, to, func(a *renew.Announcer) {
		look := func(after time.Duration, change func(*renew.Look), status string, written, since time.Duration) {
			t.Helper()
			time.Sleep(after)
			a.Looked(nodeLook(change))
			synctest.Wait()
			if s := to.said; s.Condition.Status != status || s.At.Sub(epoch) != written || s.Since.Sub(epoch) != since {
				t.Errorf("after %s: %s, written at %s, since %s; want %s, %s, %s", time.Since(epoch),
					s.Condition.Status, s.At.Sub(epoch), s.Since.Sub(epoch), status, written, since)
			}
		}
		look(time.Second, nil, "False", time.Second, time.Second)
		look(time.Hour, nil, "False", time.Second, time.Second) // nothing new
		before := to.asked
		look(time.Hour, nil, "False", time.Second, time.Second)
		if to.asked != before {
			t.Errorf("the API server was asked %d times although nothing has changed", to.asked-before)
		}
		look(4*time.Hour, nil, "False", 6*time.Hour+time.Second, time.Second) // a heartbeat
		look(time.Hour, expire, "True", 7*time.Hour+time.Second, 7*time.Hour+time.Second)
		// Another reason is no other status.
		look(time.Hour, func(l *renew.Look) { l.Observation.Certificates[0].State = pki.Invalid }, "True", 8*time.Hour+time.Second, 7*time.Hour+time.Second)
		look(time.Hour, nil, "False", 9*time.Hour+time.Second, 9*time.Hour+time.Second)
	})
	const want = `{"schema":1,"version":"1.2.3","looked":"2000-01-01T09:00:01Z","due":"2000-12-01T00:00:00Z","certificates":[` +
		`{"name":"apiserver","notAfter":"2001-01-01T00:00:00Z","state":"ok"},{"name":"kubelet-client","notAfter":"2001-01-01T00:00:00Z","state":"ok"}]}`
	if diff := cmp.Diff(want, to.said.Summary); diff != "" {
		t.Error(diff)
	}
}

// A daemon that is started again and again writes nothing that is there already.
func TestAnnouncesNothingNewAfterAStart(t *testing.T) {
	to := &listener{}
	announce(t, to, func(a *renew.Announcer) { a.Looked(nodeLook(nil)) })
	first := to.said
	announce(t, to, func(a *renew.Announcer) { time.Sleep(time.Hour); a.Looked(nodeLook(nil)) })
	if diff := cmp.Diff(first, to.said); diff != "" {
		t.Error(diff)
	}
	announce(t, to, func(a *renew.Announcer) { time.Sleep(7 * time.Hour); a.Looked(nodeLook(nil)) })
	if to.said.At.Sub(epoch) != 7*time.Hour || !to.said.Since.Equal(first.Since) {
		t.Errorf("the heartbeat was written at %s, since %s", to.said.At, to.said.Since)
	}
}

// What is about to be put right is no problem yet, but an event; what never is, is one.
func TestAnnouncesAfterTheRun(t *testing.T) {
	to := &listener{}
	announce(t, to, func(a *renew.Announcer) {
		work := func(l *renew.Look) {
			expire(l)
			l.Plan.Renew = []renew.Renewal{{Certificate: "apiserver"}}
		}
		a.Looked(nodeLook(work))
		synctest.Wait()
		if to.said.Condition.Status != "" || len(to.events) != 1 || to.events[0] != "CertificateDue: to be renewed: apiserver" {
			t.Errorf("said %+v, events %q", to.said, to.events)
		}
		time.Sleep(16 * time.Minute)
		a.Looked(nodeLook(work))
		synctest.Wait()
		if to.said.Condition.Reason != renew.ReasonExpired {
			t.Errorf("a quarter of an hour later: %+v", to.said)
		}
	})
}

func TestEventsAreDeduplicated(t *testing.T) {
	to := &listener{}
	announce(t, to, func(a *renew.Announcer) {
		failed := renew.Run{Outcome: renew.Failed, Error: "restart etcd: not healthy after 241 s"}
		run := func(after time.Duration, r renew.Run) {
			time.Sleep(after)
			a.Ran(r)
			synctest.Wait()
		}
		a.Looked(nodeLook(nil))
		run(0, failed)
		failed.Error = "restart etcd: not healthy after 240 s"
		run(time.Minute, failed)
		run(30*time.Minute, failed)
		to.forgot = true
		run(time.Minute, failed)
		to.forgot = false
		run(2*time.Hour, failed) // after an hour it has, and is not even asked
		run(0, renew.Run{Outcome: renew.Done, Renewed: []string{"apiserver"}, Restarted: []string{renew.Etcd, renew.APIServer},
			Entries: []renew.Entry{{Step: "put back scheduler.conf", Event: "end"}, {Step: "put back admin.conf", Event: "end", Error: "x"}}})
		stale := func(l *renew.Look) { l.Proofs = []renew.Proof{{Component: renew.Etcd, Verdict: renew.Stale}} }
		a.Looked(nodeLook(stale))
		a.Looked(nodeLook(stale))
		a.Looked(nodeLook(func(l *renew.Look) {
			l.Plan.Notices = renew.Notices{{ID: "ca-ends", Severity: renew.Warning, About: "ca", Text: "the CA ca ends"}}
		}))
	})
	want := []string{
		"RenewalFailed: run failed: restart etcd: not healthy after 241 s",
		"RenewalFailed: run failed: restart etcd: not healthy after 241 s (2)",
		"RenewalFailed: run failed: restart etcd: not healthy after 241 s (3)",
		"RenewalFailed: run failed: restart etcd: not healthy after 240 s",
		"RenewalFailed: run failed: restart etcd: not healthy after 240 s",
		"CertificateRenewed: renewed: apiserver",
		"CertificateRolledBack: what was written was refused, and is as it was: scheduler.conf",
		"ComponentRestarted: restarted, healthy again: etcd, kube-apiserver",
		"CertificateNotLoaded: what is on disk is not loaded by etcd",
		"CAExpiring: the CA ca ends",
	}
	if diff := cmp.Diff(want, to.events); diff != "" {
		t.Error(diff)
	}
}

// An API server that is away costs neither memory nor, after ten minutes, attempts; what
// was said before is said when it is back in time.
func TestAnnouncementsAreBounded(t *testing.T) {
	to := &listener{}
	to.away.Store(true)
	announce(t, to, func(a *renew.Announcer) {
		a.Looked(nodeLook(nil))
		for i := range 150 {
			a.Ran(renew.Run{Outcome: renew.Done, Renewed: []string{fmt.Sprintf("c%c%c", 'a'+i/26, 'a'+i%26)}})
		}
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		to.away.Store(false)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(to.events) != 100 || to.events[0] != "CertificateRenewed: renewed: cby" || to.said.Condition.Status != "False" {
			t.Errorf("%d events were told, the first of them %q, and %+v", len(to.events), to.events[:min(1, len(to.events))], to.said.Condition)
		}

		to.away.Store(true)
		to.events = nil
		a.Ran(renew.Run{Outcome: renew.Failed, Error: "x"})
		a.Looked(nodeLook(expire))
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		before := to.asked
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if to.asked != before {
			t.Errorf("it was asked %d times although nobody has looked", to.asked-before)
		}
		to.away.Store(false)
		a.Looked(nodeLook(expire))
		synctest.Wait()
		if len(to.events) != 0 || to.said.Condition.Status != "True" {
			t.Errorf("events %q, %+v; want what is old dropped, and what is so now said", to.events, to.said.Condition)
		}
	})
}
