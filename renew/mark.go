package renew

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"go.uber.org/zap"
)

// markFile says that the node may be marked, until that is known to be taken away.
const markFile = "mark.json"

// mark is what others see on a node while a run is at work on it. They are not bound to
// care, and no run depends on it.
type mark struct {
	Node  string    `json:"node"`
	Run   string    `json:"run"`
	Since time.Time `json:"since"`
}

// mark marks the node while the run lasts. The run does not wait for it: the API server
// may take its time. unmark is to be called at the end.
func (r *run) mark(ctx context.Context) (unmark func()) {
	layout, _ := r.Locate()
	m := mark{Run: r.id, Since: r.Now().UTC().Truncate(time.Second),
		Node: Observation{Certificates: layout.Read(r.Now())}.node()}
	if r.Neighbours == nil || !layout.ControlPlane || len(r.plan.Restart) == 0 || m.Node == "" {
		return func() {}
	}
	ctx = context.WithoutCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.setMark(ctx, m); err != nil {
			r.log.Debug("the node could not be marked", zap.Error(err))
		}
	}()
	return func() {
		<-done
		if err := r.removeMark(ctx); err != nil {
			r.log.Debug("the mark of the node could not be removed; the next look tries again", zap.Error(err))
		}
	}
}

func (n *Node) setMark(ctx context.Context, m mark) error {
	kept, err := json.Marshal(m)
	if err != nil {
		return err
	}
	shown, err := json.Marshal(map[string]any{"run": m.Run, "since": m.Since})
	if err != nil {
		return err
	}
	// First, so that whatever comes in between is followed by its removal.
	if err := n.State.write(markFile, kept); err != nil {
		return err
	}
	return n.Neighbours.Mark(ctx, m.Node, string(shown))
}

// removeMark takes a mark away that was left, and does nothing if there is none.
func (n *Node) removeMark(ctx context.Context) error {
	if n.Neighbours == nil {
		return nil
	}
	content, err := os.ReadFile(n.State.path(markFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var m mark
	if err := json.Unmarshal(content, &m); err == nil && m.Node != "" {
		if err := n.Neighbours.Mark(ctx, m.Node, ""); err != nil {
			return err
		}
	}
	if err := os.Remove(n.State.path(markFile)); err != nil {
		return fmt.Errorf("mark of the node: %w", err)
	}
	return nil
}

// dropMark removes what a run has left that was cut off, unless one is at work.
func (n *Node) dropMark(ctx context.Context) {
	if _, err := os.Stat(n.State.path(markFile)); err != nil {
		return
	}
	unlock, err := n.State.lockRun()
	if err != nil {
		return
	}
	defer unlock()
	if err := n.removeMark(ctx); err != nil {
		n.Log.Debug("the mark of the node could not be removed; the next look tries again", zap.Error(err))
	}
}
