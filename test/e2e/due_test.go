//go:build linux

package e2e_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// The main job: a control plane whose certificates come due, from the package to the
// proof.
func TestCertificatesComeDue(t *testing.T) {
	n := onNode(t)
	names := slices.Sorted(maps.Keys(story.CertificateFiles))
	n.Age(t, names...)
	old, before := n.Leaves(t, names...), n.Observe(t)
	n.Exits(t, 2, "kubecertd", "plan")

	poll := n.PollAPI(t.Context(), 10*time.Millisecond)
	began := time.Now()
	n.MustRun(t, "systemctl", "enable", "--now", "kubecertd")
	if u := n.Unit(t, "kubecertd"); u["ActiveState"] != "active" || u["SubState"] != "running" {
		t.Errorf("enable --now has returned and the unit is %v", u)
	}
	done := n.AwaitDone(t, 2*time.Minute)
	t.Logf("the run was done %s after the start", done.Time().Sub(began).Round(10*time.Millisecond))
	available := poll.Stop()
	t.Logf("the API was %s", available)
	if total := available.Total(); total > 30*time.Second {
		t.Errorf("the API was away for %s: the documented procedure takes 34 s", total)
	}
	story.Eventually(t, 20*time.Second, n.Settled)

	t.Run("new on disk", func(t *testing.T) {
		for name, leaf := range n.Leaves(t, names...) {
			if was := old[name]; leaf.SerialNumber.Cmp(was.SerialNumber) == 0 || !leaf.NotAfter.After(was.NotAfter.Add(300*24*time.Hour)) {
				t.Errorf("%s: serial %x until %s, and was %x until %s", name, leaf.SerialNumber, leaf.NotAfter, was.SerialNumber, was.NotAfter)
			}
		}
	})
	t.Run("served", func(t *testing.T) {
		for port, name := range map[string]string{"6443": "apiserver", "2379": "etcd-server", "2380": "etcd-peer"} {
			if err := n.Serves(t, port, name); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("restarted once", func(t *testing.T) {
		n.RestartedOnce(t, before, story.Pods...)
		n.KubeletRestarted(t, before, true)
		n.APIWorks(t)
	})
	t.Run("journal", func(t *testing.T) { journalOfRun(t, n, done["RUN_ID"], names) })
	t.Run("shown", func(t *testing.T) { shown(t, n, done["RUN_ID"], names) })
	t.Run("the next looks do nothing", func(t *testing.T) {
		after := n.Observe(t)
		n.MustRun(t, "systemctl", "reload", "kubecertd") // a reload looks again
		n.AwaitEvent(t, 10*time.Second, renew.EventReloaded)
		story.Eventually(t, 10*time.Second, n.Settled)
		n.Untouched(t, after)
		if runs := n.History(t); len(runs) != 1 {
			t.Errorf("%d runs are recorded, want the one", len(runs))
		}
	})
}

// journalOfRun demands the events of a complete run, with their fields.
func journalOfRun(t *testing.T, n *node, id string, names []string) {
	if id == "" {
		t.Fatal("the end of the run has no RUN_ID")
	}
	order := append(slices.Clone(story.Pods), "kubelet")
	for _, e := range []struct {
		event, id, field string
		want             []string
	}{
		{"planned certificates", renew.EventPlanned, "CERTIFICATE", names},
		{"planned components", renew.EventPlanned, "COMPONENT", order},
		{"run started", renew.EventRunStarted, "RUN_ID", []string{id}},
		{"renewed", renew.EventRenewed, "CERTIFICATE", names},
		{"restarting", renew.EventRestarting, "COMPONENT", order},
		{"restarted", renew.EventRestarted, "COMPONENT", order},
		{"proven", renew.EventProven, "RUN_ID", []string{id}},
		{"done", renew.EventRunDone, "RUN_ID", []string{id}},
	} {
		got := sets.New(story.Values(n.Events(t, e.id), e.field)...).Delete("")
		if diff := cmp.Diff(sets.List(sets.New(e.want...)), sets.List(got)); diff != "" {
			t.Errorf("%s, field %s (-want +got):\n%s", e.event, e.field, diff)
		}
	}
	for _, e := range n.Events(t, renew.EventRenewed) {
		name := e["CERTIFICATE"]
		leaf := n.Leaf(t, name)
		want := map[string]string{"RUN_ID": id, "SERIAL": fmt.Sprintf("%x", leaf.SerialNumber),
			"NOT_AFTER": leaf.NotAfter.UTC().Format(time.RFC3339), "PATH": story.CertificateFiles[name][0],
			"PRIORITY": "6", "SYSLOG_IDENTIFIER": "kubecertd", "_SYSTEMD_UNIT": "kubecertd.service"}
		for field, value := range want {
			if e[field] != value {
				t.Errorf("%s renewed: %s=%q, want %q", name, field, e[field], value)
			}
		}
	}
	for _, id := range []string{renew.EventNotice, renew.EventBlocked, renew.EventRunFailed, renew.EventRenewFailed, renew.EventRestartFailed} {
		if text := story.Said(n.Events(t, id)); text != "" {
			t.Errorf("a good run needs no attention:\n%s", text)
		}
	}
}

// shown demands that everything that shows the node's state shows the new one.
func shown(t *testing.T, n *node, id string, names []string) {
	s, err := n.Status()
	if err != nil {
		t.Fatal(err)
	}
	loaded := map[string]bool{}
	for _, c := range s.Certificates {
		if c.Loaded == renew.Loaded {
			loaded[c.Name] = true
		}
	}
	// Nobody holds these: they are for people and probes.
	for _, name := range names {
		if held := name != "admin.conf" && name != "super-admin.conf" && name != "etcd-healthcheck-client"; loaded[name] != held {
			t.Errorf("status says of %s: loaded = %t, want %t", name, loaded[name], held)
		}
	}
	if err := story.Contains(n.Exits(t, 0, "kubecertd", "plan"), "Nothing to do."); err != nil {
		t.Error(err)
	}
	runs := n.History(t)
	if len(runs) != 1 || runs[0].ID != id || runs[0].Outcome != renew.Done || runs[0].Error != "" {
		t.Fatalf("history: %+v", runs)
	}
	if diff := cmp.Diff(names, slices.Sorted(slices.Values(runs[0].Renewed))); diff != "" {
		t.Errorf("renewed according to history (-want +got):\n%s", diff)
	}
	// Each new credential was tried against the servers that ran, and accepted.
	if !slices.ContainsFunc(runs[0].Entries, func(e renew.Entry) bool { return e.Step == "preflight" && e.Reason == "all accepted" }) {
		t.Errorf("the record says of the preflight: %+v", runs[0].Entries)
	}
	if want := append(slices.Clone(story.Pods), "kubelet"); !cmp.Equal(want, runs[0].Restarted) {
		t.Errorf("restarted according to history: %v, want %v", runs[0].Restarted, want)
	}
	if err := story.Contains(n.MustRun(t, "kubecertd", "history"), id, "done", strings.Join(runs[0].Restarted, ",")); err != nil {
		t.Error(err)
	}

	// The first to expire of all, the kubelet's own included, is what systemctl shows.
	first, end := "", time.Time{}
	for name, leaf := range n.Leaves(t, append(names, "kubelet-client", "kubelet-server")...) {
		if end.IsZero() || leaf.NotAfter.Before(end) {
			first, end = name, leaf.NotAfter
		}
	}
	if err := story.Contains(n.Unit(t, "kubecertd")["StatusText"], "nothing due until", first+" expires first", end.UTC().Format(time.DateTime)); err != nil {
		t.Error(err)
	}
}
