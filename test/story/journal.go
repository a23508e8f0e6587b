//go:build linux

package story

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/lab/machine"
)

// Events is what kubecertd, or systemd about it, has written since the story began;
// of one kind of event when an id is given.
func (n *Node) Events(t *testing.T, messageID string) []machine.Entry {
	t.Helper()
	q := machine.Query{Unit: "kubecertd", Since: n.Began}
	if messageID != "" {
		q.Match = []string{"MESSAGE_ID=" + messageID}
	}
	entries, err := n.Journal(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// Said is the text of such entries, a line each.
func Said(entries []machine.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		b.WriteString(e.Message() + "\n")
	}
	return b.String()
}

// AwaitEvent waits for the first event of a kind.
func (n *Node) AwaitEvent(t *testing.T, limit time.Duration, messageID string) machine.Entry {
	t.Helper()
	var first machine.Entry
	Eventually(t, limit, func() error {
		entries := n.Events(t, messageID)
		if len(entries) == 0 {
			return fmt.Errorf("the journal has no entry with MESSAGE_ID=%s", messageID)
		}
		first = entries[0]
		return nil
	})
	return first
}

// AwaitSaid waits until entries of one kind say all of the words.
func (n *Node) AwaitSaid(t *testing.T, limit time.Duration, messageID string, words ...string) {
	t.Helper()
	Eventually(t, limit, func() error { return Contains(Said(n.Events(t, messageID)), words...) })
}

// AwaitDone waits until a run has ended well; it fails at once when one has failed
// and none was expected to.
func (n *Node) AwaitDone(t *testing.T, limit time.Duration) machine.Entry {
	t.Helper()
	var done machine.Entry
	failed := ""
	Eventually(t, limit, func() error {
		if failed = Said(n.Events(t, renew.EventRunFailed)); failed != "" {
			return nil
		}
		entries := n.Events(t, renew.EventRunDone)
		if len(entries) == 0 {
			return fmt.Errorf("no run is done: %s", n.Unit(t, "kubecertd")["StatusText"])
		}
		done = entries[len(entries)-1]
		return nil
	})
	if failed != "" {
		t.Fatalf("a run failed: %s", failed)
	}
	return done
}

// Values are the values of one field, in the order of the entries.
func Values(entries []machine.Entry, field string) []string {
	list := []string{}
	for _, e := range entries {
		list = append(list, e[field])
	}
	return list
}
