package renew_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
)

// told is a reporter that remembers, and may end the loop.
type told struct {
	looks []renew.Look
	runs  []renew.Run
	end   func(*told)
}

func (r *told) Looked(l renew.Look) {
	r.looks = append(r.looks, l)
	if r.end != nil {
		r.end(r)
	}
}

func (r *told) Ran(run renew.Run) { r.runs = append(r.runs, run) }

// runLoop runs a loop on the node until the reporter has heard of so many looks.
func (n *fakeNode) runLoop(looks int) *told {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	defer cancel()
	r := &told{end: func(r *told) {
		if len(r.looks) == looks {
			cancel()
		}
	}}
	l := &renew.Loop{Node: n.Node, Interval: time.Hour, Retry: time.Minute, Notify: &manager{}, Report: r}
	if err := l.Run(ctx); err != nil {
		n.t.Fatal(err)
	}
	if len(r.looks) != looks {
		n.t.Fatalf("%d looks were reported, want %d", len(r.looks), looks)
	}
	return r
}

func TestLoopReports(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	r := n.runLoop(2)
	if before, after := r.looks[0].Plan, r.looks[1].Plan; !before.Work() || after.Work() {
		t.Errorf("there was to do %t before the run and %t after it", before.Work(), after.Work())
	}
	if !r.looks[0].Window {
		t.Error("without maintenance windows one is always open")
	}
	if len(r.runs) != 1 || r.runs[0].Outcome != renew.Done || r.runs[0].Trigger != "start" || r.runs[0].Ended.Before(r.runs[0].Began) {
		t.Fatalf("runs %+v, want one that is done", r.runs)
	}
	if diff := cmp.Diff(renewable, slices.Sorted(slices.Values(r.runs[0].Renewed))); diff != "" {
		t.Errorf("renewed (-want +got):\n%s", diff)
	}
	recorded, err := n.State.History()
	if err != nil || len(recorded) != 1 {
		t.Fatalf("history: %+v, %v", recorded, err)
	}
	if diff := cmp.Diff(recorded[0].Results(), r.runs[0].Results()); diff != "" {
		t.Errorf("what is reported is not what is recorded (-recorded +reported):\n%s", diff)
	}
}

// A run that was cut off is heard of once, when it has been ended.
func TestLoopReportsWhatWasCutOff(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	n.cutOff("apiserver", ": >"+n.files.Certificate("apiserver"))
	r := n.runLoop(2)
	var outcomes []renew.Outcome
	for _, run := range r.runs {
		outcomes = append(outcomes, run.Outcome)
	}
	if diff := cmp.Diff([]renew.Outcome{renew.Failed, renew.Done}, outcomes); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	if !slices.ContainsFunc(r.runs[0].Entries, func(e renew.Entry) bool { return e.Step == "put back apiserver" && e.Event == "end" }) {
		t.Errorf("that the certificate was put back is not among %+v", r.runs[0].Entries)
	}
}

// What could not be put back keeps its run open: nobody hears of it before it has ended.
func TestOpenRunIsNotReported(t *testing.T) {
	t.Parallel()
	n := newFakeNode(t)
	var runs []renew.Run
	n.Ran = func(r renew.Run) { runs = append(runs, r) }
	file := n.files.Certificate("scheduler.conf")
	n.instead("scheduler.conf", "rm "+file+"; mkdir -p "+file+"/full; exit 1")
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err == nil || len(runs) != 0 {
		t.Fatalf("error %v; reported %+v, want nothing", err, runs)
	}
	if r := n.runLoop(1); !r.looks[0].Owes || len(r.runs) != 0 {
		t.Errorf("the loop says that it owes something: %t, and reports %+v", r.looks[0].Owes, r.runs)
	}
	n.mustDo(os.RemoveAll(file))
	if r := n.runLoop(1); r.looks[0].Owes || len(r.runs) == 0 || r.runs[0].Outcome != renew.Failed {
		t.Errorf("put back, the loop says that it owes something: %t, and reports %+v", r.looks[0].Owes, r.runs)
	}
}
