package renew_test

import (
	"io"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubecertd/kubecertd/renew"
)

// Whoever reads in the journal that a run has ended finds its end in the history.
func TestRunIsClosedBeforeItIsReported(t *testing.T) {
	t.Parallel()
	for _, want := range []renew.Outcome{renew.Done, renew.Failed} {
		n := newFakeNode(t)
		if want == renew.Failed {
			n.instead("apiserver", "echo renewed")
		}
		reported := 0
		n.Log = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(io.Discard), zap.InfoLevel), zap.Hooks(func(e zapcore.Entry) error {
			if e.Message != "run "+string(want) {
				return nil
			}
			reported++
			if runs, err := n.State.History(); err != nil || len(runs) != 1 || runs[0].Outcome != want {
				t.Errorf("at %q the history has %d runs, %s, %v", e.Message, len(runs), runs[0].Outcome, err)
			}
			return nil
		}))
		if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); (err != nil) != (want == renew.Failed) {
			t.Error(err)
		}
		if reported != 1 {
			t.Errorf("%s: reported %d times", want, reported)
		}
	}
}
