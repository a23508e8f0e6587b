//go:build linux

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/lab/machine"
)

// journal is what kubecertd, or systemd about it, has written since the story began;
// of one kind of event when an id is given.
func (n *node) journal(t *testing.T, messageID string) []machine.Entry {
	t.Helper()
	q := machine.Query{Unit: "kubecertd", Since: n.began}
	if messageID != "" {
		q.Match = []string{"MESSAGE_ID=" + messageID}
	}
	entries, err := n.Journal(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// said is the text of such entries, a line each.
func said(entries []machine.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		b.WriteString(e.Message() + "\n")
	}
	return b.String()
}

// awaitEvent waits for the first event of a kind.
func (n *node) awaitEvent(t *testing.T, limit time.Duration, messageID string) machine.Entry {
	t.Helper()
	var first machine.Entry
	eventually(t, limit, func() error {
		entries := n.journal(t, messageID)
		if len(entries) == 0 {
			return fmt.Errorf("the journal has no entry with MESSAGE_ID=%s", messageID)
		}
		first = entries[0]
		return nil
	})
	return first
}

// awaitSaid waits until entries of one kind say all of the words.
func (n *node) awaitSaid(t *testing.T, limit time.Duration, messageID string, words ...string) {
	t.Helper()
	eventually(t, limit, func() error { return contains(said(n.journal(t, messageID)), words...) })
}

// awaitDone waits until a run has ended well; it fails at once when one has failed
// and none was expected to.
func (n *node) awaitDone(t *testing.T, limit time.Duration) machine.Entry {
	t.Helper()
	var done machine.Entry
	failed := ""
	eventually(t, limit, func() error {
		if failed = said(n.journal(t, renew.EventRunFailed)); failed != "" {
			return nil
		}
		entries := n.journal(t, renew.EventRunDone)
		if len(entries) == 0 {
			return fmt.Errorf("no run is done: %s", n.unit(t, "kubecertd")["StatusText"])
		}
		done = entries[len(entries)-1]
		return nil
	})
	if failed != "" {
		t.Fatalf("a run failed: %s", failed)
	}
	return done
}

// values are the values of one field, in the order of the entries.
func values(entries []machine.Entry, field string) []string {
	list := []string{}
	for _, e := range entries {
		list = append(list, e[field])
	}
	return list
}
