package runtime

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestStartedAfterBoot(t *testing.T) {
	tail := " S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 12345 99 88"
	tests := []struct {
		name, stat string
		want       time.Duration
		wantErr    string
	}{
		{"plain", "77 (etcd)" + tail, 123450 * time.Millisecond, ""},
		{"name with spaces and parentheses", "77 (a) S 1 (b c)) )" + tail, 123450 * time.Millisecond, ""},
		{"empty", "", 0, "is not understood"},
		{"cut off", "77 (etcd) S 1 1", 0, "is not understood"},
		{"no number", strings.Replace("77 (etcd)"+tail, "12345", "x", 1), 0, "invalid syntax"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := startedAfterBoot(tt.stat)
			if got != tt.want || (err == nil) != (tt.wantErr == "") {
				t.Fatalf("got %s, %v", got, err)
			}
			if err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("error %q, want %q in it", err, tt.wantErr)
			}
		})
	}
}

func TestProcessStart(t *testing.T) {
	got, err := ProcessStart(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(got); age < 0 || age > time.Hour {
		t.Errorf("this process started %s ago", age)
	}
	first, err := ProcessStart(1)
	if err != nil || first.After(got) {
		t.Errorf("the first process started at %s (%v), after this one at %s", first, err, got)
	}
	for _, pid := range []int{0, -1, 1 << 30} {
		if _, err := ProcessStart(pid); err == nil {
			t.Errorf("process %d has a start", pid)
		}
	}
}

// The result must be comparable with the time of a file written at that moment: it
// is never later than the true start.
func TestProcessStartIsComparableWithFiles(t *testing.T) {
	file := t.TempDir() + "/x"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ProcessStart(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !got.Before(info.ModTime()) {
		t.Errorf("this process started at %s, not before the file it wrote at %s", got, info.ModTime())
	}
}
