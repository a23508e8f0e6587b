package renew_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// asked is an API server that uses its certificates, and counts.
type asked struct {
	mu    sync.Mutex
	names []string
	says  map[string]renew.Use
}

func (a *asked) Use(_ context.Context, certificate, _ string) renew.Use {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.names = append(a.names, certificate)
	return a.says[certificate]
}

// That a client certificate works proves something only when no other can be meant; that
// it is refused always does.
func TestProveByUse(t *testing.T) {
	works, refused := renew.Use{Works: true, Said: "it has answered"}, renew.Use{Refused: true, Said: "401"}
	before := func(end time.Duration, since time.Duration) map[string][]renew.Content {
		return map[string][]renew.Content{
			"apiserver-kubelet-client": {{"old", now.Add(-since), now.Add(end)}, {"new", now.Add(-time.Hour), now.Add(365 * day)}},
			"apiserver-etcd-client":    {{"old", now.Add(-since), now.Add(end)}, {"new", now.Add(-time.Hour), now.Add(365 * day)}},
		}
	}
	tests := []struct {
		name        string
		certificate string
		contents    map[string][]renew.Content
		use         renew.Use
		want        renew.Verdict
		evidence    string
	}{
		{"works, and so would the old one", "apiserver-kubelet-client", before(day, 100*day), works, renew.Unknown, "with this one or the one before: it has answered"},
		{"works, and the old one has run out", "apiserver-kubelet-client", before(-day, 100*day), works, renew.Loaded, "every certificate before this one has run out"},
		{"works, and what the process began with is not known", "apiserver-kubelet-client", before(-day, 98*day), works, renew.Unknown, "with this one or the one before"},
		{"works, and nothing is known of the old one", "apiserver-kubelet-client", nil, works, renew.Unknown, "with this one or the one before"},
		{"works, on a connection that may be old", "apiserver-etcd-client", before(-day, 100*day), works, renew.Unknown, "a connection made with the one before"},
		{"refused", "apiserver-kubelet-client", before(day, 100*day), refused, renew.Stale, "refused: 401"},
		{"cannot be told", "front-proxy-client", nil, renew.Use{Said: "no aggregated API"}, renew.Unknown, "could not be told: no aggregated API"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := healthy()
			certificate(&o, tt.certificate, rewritten)
			o.Contents, o.Uses = tt.contents, map[string]renew.Use{tt.certificate: tt.use}
			i := slices.IndexFunc(renew.Prove(o), func(p renew.Proof) bool {
				return p.Component == renew.APIServer && p.Certificate == tt.certificate
			})
			if p := renew.Prove(o)[i]; p.Verdict != tt.want || !strings.Contains(p.Evidence, tt.evidence) {
				t.Errorf("%s (%s), want %s (%s)", p.Verdict, p.Evidence, tt.want, tt.evidence)
			}
			// With auto, the API server is restarted for what is refused, and for that alone.
			policy := shipped
			policy.Restart.Default = renew.RestartAuto
			if got := slices.Contains(restarts(renew.Decide(o, policy, renew.Wish{})), renew.APIServer); got != (tt.want == renew.Stale) {
				t.Errorf("restarted: %t", got)
			}
		})
	}
}

// Only what nothing else proves is asked for, and once for each process and file.
func TestAsk(t *testing.T) {
	a := &asked{says: map[string]renew.Use{"apiserver-kubelet-client": {Works: true}, "apiserver-etcd-client": {Refused: true}}}
	n := &renew.Node{Uses: a}
	ask := func(change func(*renew.Observation)) []string {
		o := healthy()
		for _, name := range []string{"apiserver-kubelet-client", "apiserver-etcd-client", "front-proxy-client"} {
			certificate(&o, name, func(c *pki.Certificate) { rewritten(c); c.SHA256 = "new " + name })
		}
		change(&o)
		a.names = nil
		n.Ask(t.Context(), &o)
		slices.Sort(a.names)
		return a.names
	}
	for _, look := range []struct {
		name   string
		change func(*renew.Observation)
		want   []string
	}{
		{"everything is proven", func(o *renew.Observation) { *o = healthy() }, nil},
		{"the API server is down", func(o *renew.Observation) {
			component(o, renew.APIServer, func(c *renew.Component) { c.Running = false })
		}, nil},
		{"the first look", func(*renew.Observation) {}, []string{"apiserver-etcd-client", "apiserver-kubelet-client", "front-proxy-client"}},
		{"the next look", func(*renew.Observation) {}, []string{"apiserver-etcd-client"}}, // what is refused is asked each time
		{"an hour later", func(o *renew.Observation) { o.At = o.At.Add(time.Hour) }, []string{"apiserver-etcd-client", "front-proxy-client"}},
		{"another file", func(o *renew.Observation) {
			certificate(o, "apiserver-kubelet-client", func(c *pki.Certificate) { c.SHA256 = "newer" })
		}, []string{"apiserver-etcd-client", "apiserver-kubelet-client"}},
		{"another process", func(o *renew.Observation) {
			component(o, renew.APIServer, func(c *renew.Component) { c.ID = "another" })
		}, []string{"apiserver-etcd-client", "apiserver-kubelet-client", "front-proxy-client"}},
	} {
		if diff := cmp.Diff(look.want, ask(look.change)); diff != "" {
			t.Errorf("%s: asked (-want +got):\n%s", look.name, diff)
		}
	}
}
