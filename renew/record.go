package renew

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Entry is one line of a run's record. A step has two: one written before it and
// one after it, both on disk before the run goes on, so that after a crash the
// record says how far the run had come.
type Entry struct {
	Time  time.Time `json:"time"`
	Step  string    `json:"step"`  // "run", "renew apiserver", "restart etcd", "prove"
	Event string    `json:"event"` // "begin" or "end"
	// Reason is why the step is taken, on begin; what came of it, on end.
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	// Snapshot is the id of the snapshot that the step took or used.
	Snapshot string `json:"snapshot,omitempty"`
	// Output is what kubeadm said.
	Output string `json:"output,omitempty"`
	// Plan is what the run set out to do, on the first line.
	Plan *Plan `json:"plan,omitempty"`
}

// Outcome is how a run ended.
type Outcome string

const (
	// Done says that everything planned was done and proven.
	Done Outcome = "done"
	// Failed says that the run stopped, or that part of it failed; the error says which.
	Failed Outcome = "failed"
	// Unfinished says that the record has no end: the run is under way, or was cut off.
	Unfinished Outcome = "unfinished"
)

// Run is the record of one run, read back.
type Run struct {
	ID        string    `json:"id"`
	Trigger   string    `json:"trigger"`
	Began     time.Time `json:"began"`
	Ended     time.Time `json:"ended,omitzero"`
	Outcome   Outcome   `json:"outcome"`
	Error     string    `json:"error,omitempty"`
	Renewed   []string  `json:"renewed"`
	Restarted []string  `json:"restarted"`
	Entries   []Entry   `json:"entries,omitempty"`
}

// keepRuns is how many records are kept.
const keepRuns = 100

// idTime is how the id of a run begins, so that ids sort by time.
const idTime = "20060102T150405.000Z"

// newID names a run or a snapshot.
func newID(now time.Time) string {
	var suffix [3]byte
	_, _ = rand.Read(suffix[:]) // never fails (crypto/rand)
	return now.UTC().Format(idTime) + "-" + hex.EncodeToString(suffix[:])
}

// recorder writes one run's record.
type recorder struct {
	id   string
	file *os.File
	now  func() time.Time
	run  Run // as far as it is on disk
}

// record opens the record of a new run.
func (s State) record(now func() time.Time, trigger string, plan Plan) (*recorder, error) {
	if err := s.prepare(); err != nil {
		return nil, err
	}
	id := newID(now())
	f, err := os.OpenFile(s.path("runs", id+".jsonl"), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("record of the run: %w: nothing was changed", err)
	}
	r := &recorder{id: id, file: f, now: now, run: Run{ID: id, Outcome: Unfinished, Renewed: []string{}, Restarted: []string{}}}
	// Watched certificates are no part of a run, and thousands of them would make a record
	// that is too large to be read.
	plan.Decisions = slices.DeleteFunc(slices.Clone(plan.Decisions), func(d Decided) bool { return d.Watched })
	err = r.write(Entry{Step: "run", Event: "begin", Reason: trigger, Plan: &plan})
	if err == nil {
		err = syncDir(s.path("runs"))
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return nil, fmt.Errorf("record of the run: %w: nothing was changed", err)
	}
	s.prune()
	return r, nil
}

func (r *recorder) write(e Entry) error {
	e.Time = r.now().UTC().Truncate(time.Millisecond)
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	point := e.Event + " " + e.Step
	failpoint("before " + point)
	if _, err := r.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%s: %w", r.file.Name(), err)
	}
	if err := r.file.Sync(); err != nil {
		return err
	}
	failpoint("after " + point)
	r.run.Entries = append(r.run.Entries, e)
	r.run.add(e)
	return nil
}

// begin says that a step is about to be taken. When that cannot be written, the
// step is not taken.
func (r *recorder) begin(step, reason string) error {
	return r.write(Entry{Step: step, Event: "begin", Reason: reason})
}

// mostOutput is how much of what kubeadm said is recorded, in bytes: a record is read
// whole, and one that is larger than a file of ours can be counts as unreadable.
const mostOutput = 8 << 10

// end says how a step ended.
func (r *recorder) end(step, reason, output string, failure error) error {
	if over := len(output) - mostOutput; over > 0 {
		output = strings.ToValidUTF8(output[over:], "") // the end says what went wrong
	}
	e := Entry{Step: step, Event: "end", Reason: reason, Output: output}
	if failure != nil {
		e.Error = failure.Error()
	}
	return r.write(e)
}

func (r *recorder) close() error { return r.file.Close() }

// prune removes the oldest records. A record that cannot be removed is in nobody's
// way.
func (s State) prune() {
	ids := s.runIDs()
	for len(ids) > keepRuns {
		_ = os.Remove(s.path("runs", ids[0]+".jsonl"))
		ids = ids[1:]
	}
}

// runIDs lists the recorded runs, oldest first: an id starts with its time.
func (s State) runIDs() []string {
	entries, _ := os.ReadDir(s.path("runs"))
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".jsonl"); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// History reads the recorded runs, oldest first. A record that cannot be read does
// not hide the others: it is named in the error.
func (s State) History() ([]Run, error) {
	if _, err := os.ReadDir(s.path("runs")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("records of runs: %w", err)
	}
	var runs []Run
	var unreadable []error
	for _, id := range s.runIDs() {
		run, err := s.run(id)
		if err != nil {
			unreadable = append(unreadable, err)
		}
		runs = append(runs, run)
	}
	return runs, errors.Join(unreadable...)
}

// run reads one record, as far as it can be read.
func (s State) run(id string) (Run, error) {
	file := s.path("runs", id+".jsonl")
	content, _, err := pki.ReadFile(file)
	if err != nil {
		return Run{ID: id, Outcome: Unfinished}, fmt.Errorf("record of run %s: %s: %w", id, file, err)
	}
	run, err := parseRun(id, content)
	if err != nil {
		return run, fmt.Errorf("record of run %s: %s: %w", id, file, err)
	}
	return run, nil
}

// parseRun reads a record. A torn last line is what a power cut leaves and no
// error; any other line that cannot be read is one, and so is a record that does not
// begin with its run.
func parseRun(id string, content []byte) (Run, error) {
	run := Run{ID: id, Outcome: Unfinished, Renewed: []string{}, Restarted: []string{}}
	lines := bytes.SplitAfter(content, []byte("\n"))
	for i, line := range lines {
		if i == len(lines)-1 {
			break // without its end: torn, or nothing
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return run, fmt.Errorf("line %d: %w", i+1, err)
		}
		run.Entries = append(run.Entries, e)
		run.add(e)
	}
	if len(run.Entries) > 0 && run.Began.IsZero() {
		return run, errors.New("does not begin with the begin of a run")
	}
	return run, nil
}

func (run *Run) add(e Entry) {
	switch {
	case e.Step == "run" && e.Event == "begin":
		run.Began, run.Trigger = e.Time, e.Reason
	case e.Step == "run" && e.Event == "end":
		run.Ended, run.Outcome, run.Error = e.Time, Done, e.Error
		if e.Error != "" {
			run.Outcome = Failed
		}
	case e.Event == "end" && e.Error == "":
		if name, ok := strings.CutPrefix(e.Step, "renew "); ok {
			run.Renewed = append(run.Renewed, name)
		}
		if name, ok := strings.CutPrefix(e.Step, "restart "); ok {
			run.Restarted = append(run.Restarted, name)
		}
	}
}
