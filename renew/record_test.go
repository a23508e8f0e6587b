package renew

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clock is a clock that moves a second at each look.
func clock() func() time.Time {
	t := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return func() time.Time { t = t.Add(time.Second); return t }
}

func TestHistory(t *testing.T) {
	t.Parallel()
	s := State{Dir: filepath.Join(t.TempDir(), "state")}
	if runs, err := s.History(); err != nil || len(runs) != 0 {
		t.Fatalf("history of nothing: %v, %v", runs, err)
	}
	r, err := s.record(clock(), "timer", Plan{Renew: []Renewal{{Certificate: "apiserver"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		r.begin("renew apiserver", "due"), r.end("renew apiserver", "", "renewed", nil),
		r.begin("renew etcd-peer", "due"), r.end("renew etcd-peer", "", "", errors.New("kubeadm: exit status 1")),
		r.begin("restart kube-apiserver", "holds apiserver"), r.end("restart kube-apiserver", "", "", nil),
		r.end("run", "", "", errors.New("etcd-peer failed")), r.close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	runs, err := s.History()
	if err != nil || len(runs) != 1 {
		t.Fatalf("history: %d runs, %v", len(runs), err)
	}
	run := runs[0]
	if run.Outcome != Failed || run.Error != "etcd-peer failed" || run.Trigger != "timer" {
		t.Errorf("run %+v", run)
	}
	if len(run.Renewed) != 1 || run.Renewed[0] != "apiserver" || len(run.Restarted) != 1 || run.Restarted[0] != "kube-apiserver" {
		t.Errorf("renewed %q, restarted %q: a step that failed must not count", run.Renewed, run.Restarted)
	}
	if run.Began.IsZero() || !run.Ended.After(run.Began) {
		t.Errorf("began %s, ended %s", run.Began, run.Ended)
	}
	if info, err := os.Stat(filepath.Join(s.Dir, "runs", run.ID+".jsonl")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("record: %v, %v; want mode 0600", info.Mode(), err)
	}
	if info, err := os.Stat(s.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("state directory: %v, %v; want mode 0700", info.Mode(), err)
	}
}

func TestHistoryAfterACut(t *testing.T) {
	t.Parallel()
	whole := `{"time":"2026-03-01T12:00:00Z","step":"run","event":"begin","reason":"timer"}` + "\n"
	tests := []struct {
		name, content string
		outcome       Outcome
		err           string
	}{
		{"under way or cut off", whole, Unfinished, ""},
		{"torn last line", whole + `{"time":"2026-03-`, Unfinished, ""},
		{"empty", "", Unfinished, ""},
		{"damaged in the middle", "\x00\x00\x00\n" + whole, Unfinished, "line 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := State{Dir: t.TempDir()}
			if err := s.prepare(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.path("runs", "20260301T120000Z-aaaaaa.jsonl"), []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			// A good record beside it stays readable.
			if err := os.WriteFile(s.path("runs", "20260301T130000Z-bbbbbb.jsonl"), []byte(whole), 0o600); err != nil {
				t.Fatal(err)
			}
			runs, err := s.History()
			if len(runs) != 2 || runs[0].Outcome != tt.outcome || runs[1].Trigger != "timer" {
				t.Errorf("history %+v", runs)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestRecordsAreBounded(t *testing.T) {
	t.Parallel()
	s := State{Dir: t.TempDir()}
	now := clock()
	var last string
	for range keepRuns + 5 {
		r, err := s.record(now, "timer", Plan{})
		if err != nil {
			t.Fatal(err)
		}
		last = r.id
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
	}
	ids := s.runIDs()
	if len(ids) != keepRuns || ids[len(ids)-1] != last {
		t.Errorf("%d records, the last %s; want %d and %s", len(ids), ids[len(ids)-1], keepRuns, last)
	}
}

// What cannot be written ahead is not done.
func TestRecordRefusedWithoutDirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (State{Dir: file}).record(clock(), "timer", Plan{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v does not name %s", err, file)
	}
}

func TestLocks(t *testing.T) {
	t.Parallel()
	s := State{Dir: t.TempDir()}
	release, err := s.LockDaemon()
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.LockDaemon()
	var locked *LockedError
	if !errors.As(err, &locked) || locked.What != "daemon" || locked.PID == "" || !strings.Contains(err.Error(), locked.PID) {
		t.Errorf("second daemon: %v; want an error that names the first", err)
	}
	run, err := s.lockRun()
	if err != nil {
		t.Errorf("a run beside an idle daemon: %v", err)
	} else {
		run()
	}
	release()
	again, err := s.LockDaemon()
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	again()
}

func TestStateWriteLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := State{Dir: t.TempDir()}
	for _, content := range []string{"first", "second"} {
		if err := s.write("file", []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(s.path("file")); err != nil || string(got) != content {
			t.Errorf("read %q, %v; want %q", got, err, content)
		}
	}
	left, err := filepath.Glob(s.path("file*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// A kubeadm that talks without end does not make a record that cannot be read.
func TestRecordOfATalkativeKubeadm(t *testing.T) {
	t.Parallel()
	s := State{Dir: filepath.Join(t.TempDir(), "state")}
	r, err := s.record(clock(), "timer", Plan{})
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		if err := r.end("renew apiserver", "", strings.Repeat("é", 100<<10)+"the end", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(r.end("run", "", "", nil), r.close()); err != nil {
		t.Fatal(err)
	}
	run, err := s.last()
	if err != nil || run.Outcome != Done || !strings.HasSuffix(run.Entries[1].Output, "the end") {
		t.Errorf("%s, %v", run.Outcome, err)
	}
}
