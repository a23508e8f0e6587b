package renew_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubecertd/kubecertd/renew"
)

// hooked are the lines of the journal about it.
func hooked(logs *observer.ObservedLogs) []string {
	var lines []string
	for _, e := range logs.All() {
		if m := e.ContextMap(); m["message_id"] == renew.EventHook {
			line := e.Level.String() + " " + m["hook"].(string) + ": " + m["output"].(string)
			if err, failed := m["error"].(string); failed {
				line += ": " + err[strings.LastIndex(err, "/")+1:]
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// What the hook forbids is not begun: no record, no snapshot, no kubeadm, no restart. Its
// words are the gate's reason, and it is asked anew each time.
func TestHookForbids(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, script, reason, said string }{
		{"in words", "echo not before the audit; echo more; exit 7", "not before the audit", "warn beforeRenewal: not before the audit\nmore: program: exit status 7"},
		{"silently", "exit 1", "program: exit status 1", "warn beforeRenewal: : program: exit status 1"},
		{"by hanging", "echo waiting; sleep 300", "waiting", "warn beforeRenewal: waiting: program did not end within 1s and was killed with all that it had started"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := newFakeNode(t)
			core, logs := observer.New(zap.InfoLevel)
			n.Log = zap.New(core)
			n.Hooks.Before = renew.Program{Argv: []string{program(t, test.script)}, Timeout: time.Second}
			_, look, err := n.Act(t.Context(), renew.Wish{}, "timer")
			var blocked *renew.BlockedError
			if !errors.As(err, &blocked) || len(blocked.Gates) != 1 || blocked.Gates[0].Name != "hook" {
				t.Fatalf("error is %v, want the gate hook alone", err)
			}
			if diff := cmp.Diff(blocked.Gates, look.Plan.Blocked); diff != "" {
				t.Errorf("the look has other gates than the error (-error +look)\n%s", diff)
			}
			got, says := strings.CutPrefix(blocked.Gates[0].Reason, "hooks.beforeRenewal says no: ")
			if !says || got[strings.LastIndex(got, "/")+1:] != test.reason {
				t.Errorf("the reason is %q, want %q", got, test.reason)
			}
			if diff := cmp.Diff([]string{test.said}, hooked(logs)); diff != "" {
				t.Errorf("the journal (-want +got)\n%s", diff)
			}
			if runs, err := n.State.History(); err != nil || len(runs) != 0 {
				t.Errorf("there are %d runs on record, %v", len(runs), err)
			}
			if done := n.done(); len(done) != 0 {
				t.Errorf("it did %q", done)
			}
		})
	}
}

// A hook hears what is to be done, and another one how it ended.
func TestHooksAreTold(t *testing.T) {
	t.Parallel()
	for _, outcome := range []renew.Outcome{renew.Done, renew.Failed} {
		t.Run(string(outcome), func(t *testing.T) {
			t.Parallel()
			n := newFakeNode(t)
			if outcome == renew.Failed {
				n.instead("apiserver", "echo renewed")
			}
			dir := t.TempDir()
			hook := func(name string) renew.Program {
				return renew.Program{Argv: []string{program(t, `env | grep ^KUBECERTD_ > "$1"`, "exit $2"), filepath.Join(dir, name), map[string]string{"before": "0", "after": "1"}[name]}, Timeout: time.Minute}
			}
			n.Hooks = renew.Hooks{Before: hook("before"), After: hook("after")}
			id, look, err := n.Act(t.Context(), renew.Wish{}, "timer")
			if (err == nil) != (outcome == renew.Done) {
				t.Fatalf("the run is not %s: %v", outcome, err)
			}
			runs, err := n.State.History()
			if err != nil || len(runs) != 1 {
				t.Fatalf("%d runs, %v", len(runs), err)
			}
			var certificates, components []string
			for _, r := range look.Plan.Renew {
				certificates = append(certificates, r.Certificate)
			}
			for _, r := range look.Plan.Restart {
				components = append(components, r.Component)
			}
			want := []string{"KUBECERTD_EVENT=before-renewal", "KUBECERTD_EVENT_CERTIFICATES=" + strings.Join(certificates, " "),
				"KUBECERTD_EVENT_COMPONENTS=" + strings.Join(components, " "), "KUBECERTD_EVENT_NODE=" + ownName(look)}
			if diff := cmp.Diff(want, heard(t, dir, "before")); diff != "" {
				t.Errorf("before (-want +got)\n%s", diff)
			}
			first, _, _ := strings.Cut(runs[0].Error, "\n")
			want = []string{"KUBECERTD_EVENT=after-proof", "KUBECERTD_EVENT_CERTIFICATES=" + strings.Join(runs[0].Renewed, " "),
				"KUBECERTD_EVENT_COMPONENTS=" + strings.Join(runs[0].Restarted, " "), "KUBECERTD_EVENT_NODE=" + ownName(look),
				"KUBECERTD_EVENT_OUTCOME=" + string(outcome), "KUBECERTD_EVENT_RUN=" + id, "KUBECERTD_EVENT_TEXT=" + first}
			if diff := cmp.Diff(want, heard(t, dir, "after")); diff != "" {
				t.Errorf("after (-want +got)\n%s", diff)
			}
		})
	}
}

// ownName is the node's name in the cluster, by the kubelet's certificate.
func ownName(l renew.Look) string {
	c, _ := l.Observation.Certificate("kubelet-client")
	return strings.TrimPrefix(c.Leaf.Subject.CommonName, "system:node:")
}

func heard(t *testing.T, dir, name string) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatalf("the hook was not run: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	slices.Sort(lines)
	return lines
}

// A look is not a run: nobody is asked.
func TestLookAsksNoHook(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.Hooks.Before = renew.Program{Argv: []string{program(t, "exit 1")}, Timeout: time.Minute}
	if look := n.Look(t.Context(), renew.Wish{}); !look.Plan.Work() || len(look.Plan.Blocked) > 0 {
		t.Errorf("there is something to do: %t, and it is blocked by %v", look.Plan.Work(), look.Plan.Blocked)
	}
}
