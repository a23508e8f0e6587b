package renew_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
	n.instead("scheduler.conf", "rm "+file+"; mkdir -p "+file+"/full; exit 1")
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err == nil {
		t.Fatal("it was put back")
	}
	events := n.journal()
	for range 3 {
		if err := n.Recover(t.Context()); err == nil {
			t.Fatal("it was put back")
		}
	}
	n.mustDo(os.RemoveAll(file))
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

// A run that is under way was not cut off, whoever carries it out.
func TestRecoverDuringARun(t *testing.T) {
	t.Parallel()
	n := schedulerOnly(t)
	events, asked := n.journal(), 0
	n.onStop = func(string) {
		asked++
		if err := n.Recover(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil || asked != 1 {
		t.Fatalf("asked %d times, %v", asked, err)
	}
	if said := events(renew.EventCutOff); len(said) > 0 {
		t.Errorf("it was taken for one that was cut off: %v", said)
	}
	if runs, err := n.State.History(); err != nil || len(runs) != 1 || runs[0].Outcome != renew.Done {
		t.Errorf("history %+v, %v", runs, err)
	}
}

// cutOffAt makes the node's records what they were when this had been written to one.
func (n *fakeNode) cutOffAt(line string, run func() error) {
	n.t.Helper()
	kept := filepath.Join(n.t.TempDir(), "cut")
	n.Now = func() time.Time {
		records, _ := filepath.Glob(filepath.Join(n.State.Dir, "runs", "*.jsonl"))
		if _, err := os.Stat(kept); err != nil && len(records) > 0 && strings.Contains(string(n.read(records[len(records)-1])), line) {
			n.mustDo(os.CopyFS(kept, os.DirFS(n.State.Dir)))
		}
		return time.Now()
	}
	_ = run() // how it ends is what is undone
	n.later(0)
	n.mustDo(os.RemoveAll(n.State.Dir), os.CopyFS(n.State.Dir, os.DirFS(kept)))
}

// A restoration that is cut off goes back to what was there before it.
func TestRecoverARestoration(t *testing.T) {
	t.Parallel()
	n, snapshot, _ := restorable(t)
	file := n.files.Certificate("scheduler.conf")
	after := n.read(file)
	n.cutOffAt(`"step":"restore scheduler.conf","event":"begin"`, func() error {
		_, _, err := n.Restore(t.Context(), snapshot, false)
		return err
	})
	n.mustDo(os.WriteFile(file, nil, 0o600), n.Recover(t.Context()))
	if got := n.read(file); !bytes.Equal(got, after) {
		t.Errorf("it holds %d bytes, and not what was there before the restoration", len(got))
	}
}

// What is put back after a record that could not be read is itself on record, should it be
// cut off.
func TestRecoverAPutBack(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	file := n.files.Certificate("apiserver")
	before := n.read(file)
	n.cutOff("apiserver", ": >"+file)
	records, _ := filepath.Glob(filepath.Join(n.State.Dir, "runs", "*.jsonl"))
	n.mustDo(os.WriteFile(records[0], []byte("{}\n{}\n"), 0o600))
	n.cutOffAt(`"step":"put back apiserver","event":"begin"`, func() error { return n.Recover(t.Context()) })
	// The key was written, the certificate only in part.
	n.mustDo(os.WriteFile(file, before[:len(before)/2], 0o600), n.Recover(t.Context()))
	if got := n.read(file); !bytes.Equal(got, before) {
		t.Errorf("it holds %d bytes, want the %d from before", len(got), len(before))
	}
}
