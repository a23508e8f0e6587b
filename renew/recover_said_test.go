package renew_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubecertd/kubecertd/renew"
)

// said makes the node's journal one that can be read.
func (n *fakeNode) journal() (events func(id string) []observer.LoggedEntry) {
	core, logs := observer.New(zapcore.InfoLevel)
	n.Log = zap.New(core)
	return func(id string) []observer.LoggedEntry { return logs.FilterField(zap.String("message_id", id)).All() }
}

// A run that cannot be ended yet is tried at each look; the journal hears of it once,
// and of its end when it has one.
func TestRecoverIsSaidOnce(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	file := n.files.Certificate("scheduler.conf")
	// A directory stands for whatever keeps the file from being written.
	n.instead("scheduler.conf", "rm "+file+"; mkdir "+file+"; exit 1")
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err == nil {
		t.Fatal("it was put back")
	}
	events := n.journal()
	for range 3 {
		if err := n.Recover(t.Context()); err == nil {
			t.Fatal("it was put back")
		}
	}
	n.mustDo(os.Remove(file))
	count := func(id string) int { return len(events(id)) }
	if cut, failed, ended := count(renew.EventCutOff), count(renew.EventPutBackFailed), count(renew.EventRecovered); cut != 1 || failed != 1 || ended != 0 {
		t.Errorf("after three attempts: cut off said %d times, not put back %d times, ended %d times; want once, once and not at all", cut, failed, ended)
	}
	for range 2 {
		n.mustDo(n.Recover(t.Context()))
	}
	if cut, back, ended := count(renew.EventCutOff), count(renew.EventPutBack), count(renew.EventRecovered); cut != 1 || back != 1 || ended != 1 {
		t.Errorf("in the end: cut off said %d times, put back %d times, ended %d times; want each once", cut, back, ended)
	}
	// The next one is another matter.
	n.prepareAndKeep("scheduler.conf", func() { n.files.Issue("scheduler.conf", n.Now().Add(-day), n.Now().Add(365*day)) })
	n.cutOff("apiserver", ":")
	n.mustDo(n.Recover(t.Context()))
	if cut := count(renew.EventCutOff); cut != 2 {
		t.Errorf("cut off said %d times after the next run, want 2", cut)
	}
}

// A damaged manifest says nothing of the certificates: those that work stay, and are not
// said to be lost.
func TestRecoverWithADamagedManifest(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*fakeNode) string{
		"renewed":        func(n *fakeNode) string { return "cp -r " + n.dir + "/new/scheduler.conf/. " + n.files.Root + "/" },
		"not renewed":    func(*fakeNode) string { return ":" },
		"copy destroyed": func(n *fakeNode) string { return "cp -r " + n.dir + "/new/scheduler.conf/. " + n.files.Root + "/" },
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			n.cutOff("scheduler.conf", damage(n))
			left := string(n.read(n.files.Certificate("scheduler.conf")))
			spoil := "manifest.json"
			if name == "copy destroyed" {
				spoil = "etc/kubernetes/scheduler.conf"
			}
			files, _ := filepath.Glob(filepath.Join(n.State.Dir, "snapshots", "*", spoil))
			n.mustDo(os.WriteFile(files[0], []byte("{"), 0o600))
			n.mustDo(n.Recover(t.Context()))
			if got := string(n.read(n.files.Certificate("scheduler.conf"))); got != left {
				t.Error("a certificate that works was changed")
			}
			runs, _ := n.State.History()
			if len(runs) != 1 || !strings.Contains(runs[0].Error, "are valid and of these there is no good copy to compare them with") ||
				!strings.Contains(runs[0].Error, "scheduler.conf") || strings.Contains(runs[0].Error, "cannot be used") {
				t.Errorf("history %+v does not say so", runs)
			}
			if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
				t.Errorf("it blocks: %v", err)
			}
			if runs, err := n.State.History(); err != nil || !slices.ContainsFunc(runs, func(r renew.Run) bool { return r.Outcome == renew.Done }) {
				t.Errorf("history %+v, %v: want a run that is done", runs, err)
			}
		})
	}
}
