//go:build linux

package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// A hook of the administrator's keeps a run from beginning until it says yes, another is
// told how the run has ended, and so are a webhook that fails at first, and a program; all
// of it in the unit's sandbox.
func TestTold(t *testing.T) {
	n := onNode(t)
	hook := receive(t, n)
	const (
		may    = "/etc/kubecertd/may-renew"
		said   = story.StateDir + "/hook-said"
		paged  = story.StateDir + "/paged"
		answer = "/etc/kubecertd/yes"
	)
	t.Cleanup(func() { n.MustRun(t, "rm", "-f", may, answer, may+"-told", may+"-page", said, paged) })
	n.Write(t, may, "#!/bin/sh\n[ -e "+answer+" ] && exit\necho no renewal during the backup\nexit 1\n", 0o755)
	n.Write(t, may+"-told", "#!/bin/sh\necho \"$KUBECERTD_EVENT_OUTCOME $KUBECERTD_EVENT_CERTIFICATES $KUBECERTD_EVENT_COMPONENTS\" >"+said+"\n", 0o755)
	n.Write(t, may+"-page", "#!/bin/sh\necho \"$KUBECERTD_EVENT $KUBECERTD_EVENT_CERTIFICATES\" >>"+paged+"\n", 0o755)
	n.Configure(t, story.Soon+`hooks: {beforeRenewal: [`+may+`], afterProof: [`+may+`-told]}
notify:
  - {name: web, type: webhook, url: "`+hook.url+`", events: [blocked, renewed, restarted, recovered], blockedAfter: 1s}
  - {name: page, type: command, command: [`+may+`-page], events: [renewed]}
`)
	n.Age(t, "scheduler.conf")
	before := n.Observe(t)
	n.MustRun(t, "systemctl", "start", "kubecertd")
	story.Eventually(t, time.Minute, func() error { return story.Contains(hook.got("blocked"), "no renewal during the backup") })
	if n.Renewed(t, "scheduler.conf") || len(n.History(t)) > 0 {
		t.Error("a run began although the hook said no")
	}
	n.Untouched(t, before)

	n.Write(t, answer, "", 0o644)
	n.AwaitDone(t, 2*time.Minute)
	if want, got := "done scheduler.conf kube-scheduler\n", n.Read(t, said); got != want {
		t.Errorf("afterProof heard %q, want %q", got, want)
	}
	for _, event := range []string{"renewed", "restarted", "recovered"} {
		story.Eventually(t, time.Minute, func() error {
			if hook.got(event) == "" {
				return fmt.Errorf("the webhook has not heard of %s", event)
			}
			return nil
		})
	}
	story.Eventually(t, time.Minute, func() error {
		got, err := n.Try("cat", paged)
		return errors.Join(err, story.Contains(got.Stdout, "renewed scheduler.conf"))
	})
	if failed := story.Said(n.Events(t, renew.EventRunFailed)); failed != "" {
		t.Errorf("a run failed: %s", failed)
	}
}

// receiver is a webhook on this machine that fails at first.
type receiver struct {
	url string

	mu     sync.Mutex
	asked  int
	bodies map[string][]string // by event
}

func receive(t *testing.T, n *node) *receiver {
	t.Helper()
	r := &receiver{bodies: map[string][]string{}}
	// The machine is the first address of the nodes' network.
	network := n.Address()[:strings.LastIndex(n.Address(), ".")]
	listener, err := net.Listen("tcp", network+".1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(r)
	if err := server.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	r.url = server.URL + "/hook"
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	var e struct{ Event string }
	if r.asked++; r.asked == 1 || err != nil || json.Unmarshal(body, &e) != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	r.bodies[e.Event] = append(r.bodies[e.Event], string(body))
}

// got is what came of an event, each once.
func (r *receiver) got(event string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	bodies := slices.Clone(r.bodies[event])
	return strings.Join(bodies, "\n")
}
