package renew_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
)

// tree is what lies under a directory: names, modes, times and contents.
func tree(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			var content []byte
			if d.Type().IsRegular() {
				if content, err = os.ReadFile(name); err != nil {
					return err
				}
			}
			found[name] = fmt.Sprintf("%s %s %x", info.Mode(), info.ModTime(), sha256.Sum256(content))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// However much is wrong, an examination writes nothing, and neither does the plan that
// a person asks for.
func TestExamineWritesNothing(t *testing.T) {
	for name, broken := range map[string]func(*fakeNode){
		"everything is due":     func(*fakeNode) {},
		"no API server":         func(n *fakeNode) { n.configuration = errors.New("no answer within 3s") },
		"nothing runs":          func(n *fakeNode) { clear(n.pods); n.unit.Running = false },
		"no state directory":    func(n *fakeNode) { n.State.Dir = filepath.Join(n.State.Dir, "none") },
		"a run that is cut off": func(n *fakeNode) { n.leaveARun(t) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			broken(n)
			state := n.State.Dir
			before := tree(t, n.files.Root, filepath.Dir(state))
			found := renew.Findings(n.Examine(t.Context()), n.Policy)
			n.Look(t.Context(), renew.Wish{All: true})
			if diff := cmp.Diff(before, tree(t, n.files.Root, filepath.Dir(state))); diff != "" {
				t.Errorf("it was changed:\n%s", diff)
			}
			if !slices.ContainsFunc(found, func(f renew.Finding) bool { return f.ID == "certificate-due" }) {
				t.Errorf("nothing is due: %+v", found)
			}
		})
	}
}

// leaveARun leaves the record of a run without its end.
func (n *fakeNode) leaveARun(t *testing.T) {
	t.Helper()
	dir := filepath.Join(n.State.Dir, "runs")
	line := `{"time":"2026-01-01T00:00:00Z","step":"run","event":"begin","reason":"timer"}` + "\n"
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "20260101T000000.000Z-000000.jsonl"), []byte(line), 0o600)); err != nil {
		t.Fatal(err)
	}
}

type itself struct{ detail string }

func (s itself) Service(context.Context) (string, error) { return s.detail, nil }

// Whether there is a daemon is told by the lock that it holds, and asking does not take
// that away from it.
func TestExamineSeesTheDaemon(t *testing.T) {
	n := newFakeNode(t)
	n.Service = itself{"kubecertd.service is failed (failed)"}
	if d := n.Examine(t.Context()).Daemon; !d.Known || d.Running || d.Detail != "kubecertd.service is failed (failed)" {
		t.Errorf("without a daemon: %+v", d)
	}
	release, err := n.State.LockDaemon()
	if err != nil {
		t.Fatal(err)
	}
	if d := n.Examine(t.Context()).Daemon; !d.Running || d.Detail != fmt.Sprintf("process %d", os.Getpid()) {
		t.Errorf("with a daemon: %+v", d)
	}
	if _, err := n.State.LockDaemon(); err == nil {
		t.Error("the daemon has lost its lock")
	}
	release()
	if d := n.Examine(t.Context()).Daemon; d.Running {
		t.Errorf("afterwards: %+v", d)
	}
}
