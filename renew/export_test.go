package renew

import (
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

func (s State) PruneSnapshots(keep Retention, now time.Time) { s.pruneSnapshots(keep, now) }

// emptyNode is a node without certificates or processes.
func emptyNode(t testing.TB, s State) *Node {
	root := t.TempDir()
	return &Node{
		Locate: func() (pki.Layout, []error) { return pki.Locate(pki.Options{Root: root}) },
		State:  s, Log: zap.NewNop(), Now: time.Now, Host: Host{Proc: root, Root: root},
	}
}
