package renew_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
)

// breakRecord makes every further write to the record of the run fail, as on a full disk.
func (n *fakeNode) breakRecord() {
	n.t.Helper()
	files, err := filepath.Glob("/proc/self/fd/*")
	n.mustDo(err)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	n.mustDo(err)
	defer func() { n.mustDo(full.Close()) }()
	for _, file := range files {
		to, _ := os.Readlink(file)
		if !strings.HasPrefix(to, filepath.Join(n.State.Dir, "runs")) || filepath.Ext(to) != ".jsonl" {
			continue
		}
		var fd int
		for _, digit := range filepath.Base(file) {
			fd = 10*fd + int(digit-'0')
		}
		n.mustDo(syscall.Dup3(int(full.Fd()), fd, syscall.O_CLOEXEC))
	}
}

// A step is not taken that cannot be recorded before: nothing is changed, put back in
// the dark, or stopped. What was stopped is brought back all the same, and a run that
// is not on record did not end well.
func TestRunWhoseRecordCannotBeWritten(t *testing.T) {
	t.Parallel()
	said := func(what string) func(record []byte, n *fakeNode) bool {
		return func(record []byte, _ *fakeNode) bool { return bytes.Contains(record, []byte(what)) }
	}
	tests := []struct {
		name   string
		when   func(record []byte, n *fakeNode) bool
		calls  []string
		steps  []string
		err    string
		copies int // snapshots
	}{
		{"from the first step on", said(`"step":"run","event":"begin"`), nil, nil, "nothing was changed", 0},
		{"after the snapshot was begun", said(`"step":"snapshot","event":"begin"`), nil, nil, "nothing was changed", 1},
		{"before the first renewal", said(`"step":"snapshot","event":"end"`), nil, nil, "renew admin.conf", 1},
		{"before the second renewal", said(`"step":"renew admin.conf","event":"end"`), []string{"admin.conf"}, nil, "renew apiserver:", 1},
		{"before the preflight", said(`"step":"renew super-admin.conf","event":"end"`), renewable, nil, "no space left", 1},
		{"before the restarts", said(`"step":"preflight","event":"end"`), renewable, nil, "etcd not stopped", 1},
		{"when two were stopped", func(_ []byte, n *fakeNode) bool { return len(n.done()) > 2 }, renewable, alone[:5], "kube-controller-manager not stopped", 1},
		{"before the kubelet", said(`"step":"restart kube-scheduler","event":"end"`), renewable, alone[:9], "kubelet not restarted", 1},
		{"before the proof", said(`"step":"restart kubelet","event":"end"`), renewable, alone, "no space left", 1},
		{"before the end", said(`"step":"prove","event":"end"`), renewable, alone, "no space left", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newFakeNode(t)
			n.Credentials = &servers{}
			broken := false
			// Each entry has its time before it is written.
			n.Now = func() time.Time {
				if files, _ := filepath.Glob(filepath.Join(n.State.Dir, "runs", "*.jsonl")); !broken && len(files) == 1 {
					if broken = tt.when(n.read(files[0]), n); broken {
						n.breakRecord()
					}
				}
				return time.Now()
			}
			_, _, err := n.Act(t.Context(), renew.Wish{}, "timer")
			if !broken || err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), "no space left on device") {
				t.Errorf("broken: %t, error %v; want %q", broken, err, tt.err)
			}
			if diff := cmp.Diff(tt.calls, n.calls()); diff != "" {
				t.Errorf("kubeadm renewed (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.steps, n.done()); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if copies, _ := n.State.Snapshots(); len(copies) != tt.copies {
				t.Errorf("%d snapshots, want %d", len(copies), tt.copies)
			}
			if testing.Short() {
				return
			}
			// It is found unfinished, is ended, and the next run does the rest.
			n.later(time.Hour)
			if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); err != nil {
				t.Errorf("the next run: %v", err)
			}
			if plan := n.Look(t.Context(), renew.Wish{}).Plan; plan.Work() {
				t.Errorf("in the end there is still to do: %+v", plan)
			}
		})
	}
}
