package renew_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

func TestJudge(t *testing.T) {
	const first = "; apiserver expires first, 2001-01-01 00:00:00 UTC"
	blocked := func(gate string) func(*renew.Look) {
		return func(l *renew.Look) {
			l.Plan.Renew = []renew.Renewal{{Certificate: "apiserver"}}
			l.Plan.Blocked = []renew.Gate{{Name: gate, Reason: "not healthy for 12s"}}
		}
	}
	for name, tt := range map[string]struct {
		change          func(*renew.Look)
		status, reason  string
		message, ending string
	}{
		"all is well": {nil, "False", renew.ReasonGood, "every certificate is valid and loaded", first},
		"nothing is there": {func(l *renew.Look) { l.Observation.Certificates = nil }, "Unknown", renew.ReasonNotFound,
			"no certificates of a kubeadm cluster were found on this node", ""},
		"expired": {expire, "True", renew.ReasonExpired, "expired: apiserver", first},
		"missing": {func(l *renew.Look) { l.Observation.Certificates[1].State = pki.Missing }, "True", renew.ReasonInvalid, "missing or invalid: kubelet-client", first},
		"missing, and need not be there": {func(l *renew.Look) {
			l.Observation.Certificates[1].State, l.Observation.Certificates[1].Optional = pki.Missing, true
		}, "False", renew.ReasonGood, "every certificate", first},
		"stale": {func(l *renew.Look) { l.Proofs = []renew.Proof{{Component: renew.Etcd, Verdict: renew.Stale}} }, "True", renew.ReasonStale, "not loaded by etcd", first},
		"failed": {func(l *renew.Look) {
			l.Observation.Failures = map[string]renew.Failure{"restart etcd": {Error: "timeout"}, "renew apiserver": {Error: "refused"}}
		}, "True", renew.ReasonFailed, "renew apiserver, restart etcd failed: refused", first},
		"blocked":                  {blocked("kubelet"), "True", renew.ReasonBlocked, "blocked by kubelet: not healthy for s", first},
		"waiting for its window":   {blocked("window"), "False", renew.ReasonGood, "every certificate", first},
		"a CA that ends in a year": {caEnds(renew.Info), "False", renew.ReasonGood, "every certificate", first},
		"a CA that ends soon":      {caEnds(renew.Warning), "True", renew.ReasonCAEnds, "CA ca ends soon", first},
		"watched": {func(l *renew.Look) {
			l.Observation.Certificates[0].State, l.Observation.Certificates[0].Watched = pki.Due, true
		},
			"True", renew.ReasonWatched, "due, and only watched: apiserver", first},
	} {
		c := renew.Judge(nodeLook(func(l *renew.Look) {
			l.Observation.Certificates[0].NotAfter, l.Observation.Certificates[1].NotAfter = epoch.AddDate(1, 0, 0), epoch.AddDate(2, 0, 0)
			if tt.change != nil {
				tt.change(l)
			}
		}))
		if c.Status != tt.status || c.Reason != tt.reason || !strings.HasPrefix(c.Message, tt.message) || !strings.HasSuffix(c.Message, tt.ending) {
			t.Errorf("%s: %+v, want %+v", name, c, tt)
		}
	}
}

func caEnds(severity renew.Severity) func(*renew.Look) {
	return func(l *renew.Look) {
		l.Plan.Notices = renew.Notices{{ID: "ca-ends", Severity: severity, About: "ca", Text: "the CA ca ends"}}
	}
}

// A summary stays small however much is watched, and then has what matters most.
func TestSummaryIsBounded(t *testing.T) {
	l := nodeLook(func(l *renew.Look) {
		for i := range 1000 {
			l.Observation.Certificates = append(l.Observation.Certificates, pki.Certificate{Name: fmt.Sprintf("/srv/tls/%04d.pem", i),
				Watched: true, State: pki.OK, NotAfter: epoch.Add(time.Duration(1000-i) * time.Hour)})
		}
		l.Observation.Paused = &renew.Pause{Reason: strings.Repeat("because ", 1000)}
	})
	s := renew.Summarize(l, "1.2.3")
	if s.Certificates[0].Name != "apiserver" || s.Certificates[1].Name != "kubelet-client" || s.Certificates[2].Name != "/srv/tls/0999.pem" {
		t.Errorf("the first are %v", s.Certificates[:3])
	}
	size := len(s.Paused)
	for _, c := range s.Certificates {
		size += len(fmt.Sprintf(`{"name":%q,"notAfter":"2001-01-01T00:00:00Z","state":"ok"},`, c.Name))
	}
	if len(s.Certificates)+s.Omitted != 1002 || s.Omitted == 0 || size > 4000 {
		t.Errorf("%d certificates and %d omitted, %d bytes", len(s.Certificates), s.Omitted, size)
	}
}

func TestReadSummary(t *testing.T) {
	if s, err := renew.ReadSummary(`{"schema":1,"version":"9","later":true}`); err != nil || s.Version != "9" {
		t.Errorf("%+v, %v", s, err)
	}
	for text, want := range map[string]string{`{"schema":2}`: "schema 2", `{}`: "schema 0", `x`: "cannot be read", ``: "cannot be read"} {
		if _, err := renew.ReadSummary(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// What others look for in the cluster is written down.
func TestReasonsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{renew.ReasonExpired, renew.ReasonInvalid, renew.ReasonStale, renew.ReasonFailed, renew.ReasonBlocked, renew.ReasonCAEnds,
		renew.ReasonWatched, renew.ReasonGood, renew.ReasonNotFound, renew.ReasonDue, renew.ReasonRenewed, renew.ReasonRolledBack, renew.ReasonRestarted} {
		if !strings.Contains(string(page), "\n| `"+reason+"` |") {
			t.Errorf("%s has no row", reason)
		}
	}
}
