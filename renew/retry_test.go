package renew

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

const day = 24 * time.Hour

func TestRetryNext(t *testing.T) {
	last := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	retry := Retry{After: time.Minute, Limit: 4 * time.Hour}
	tests := []struct {
		name  string
		count int
		left  time.Duration
		want  time.Duration // before the jitter of a fifth
	}{
		{"first", 1, 30 * day, time.Minute},
		{"second", 2, 30 * day, 2 * time.Minute},
		{"fifth", 5, 30 * day, 16 * time.Minute},
		{"at the limit", 12, 30 * day, 4 * time.Hour},
		{"after very many", 400, 30 * day, 4 * time.Hour},
		{"two days left", 12, 48 * time.Hour, 144 * time.Minute},
		{"two hours left", 12, 2 * time.Hour, 6 * time.Minute},
		{"expired", 12, -day, time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := Failure{Count: tt.count, Run: "20260301T120000.000Z-c0ffee", Last: last}
			got := retry.next(f, tt.left).Sub(last)
			if got < tt.want*8/10 || got > tt.want*12/10 {
				t.Errorf("after %s, want %s give or take a fifth", got, tt.want)
			}
			if again := retry.next(f, tt.left).Sub(last); again != got {
				t.Errorf("the second look says %s, the first %s", again, got)
			}
		})
	}
	spread := map[time.Time]bool{}
	for i := range 20 {
		spread[retry.next(Failure{Count: 12, Run: fmt.Sprintf("20260301T120000.000Z-%06x", i), Last: last}, 30*day)] = true
	}
	if len(spread) < 15 {
		t.Errorf("20 nodes that failed together come back at %d times", len(spread))
	}
}

// Failures are counted for each certificate, across runs, until it succeeds.
func TestFailures(t *testing.T) {
	s := State{Dir: filepath.Join(t.TempDir(), "state")}
	now := clock()
	refused := errors.New("kubeadm: exit status 1")
	run := func(apiserver, etcd error, more func(*recorder)) {
		t.Helper()
		r, err := s.record(now, "timer", Plan{Renew: []Renewal{{Certificate: "apiserver"}, {Certificate: "etcd-server"}}})
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(r.begin("renew apiserver", ""), r.end("renew apiserver", "", "", apiserver),
			r.begin("renew etcd-server", ""), r.end("renew etcd-server", "", "", etcd))
		more(r)
		if err := errors.Join(err, r.end("run", "", "", nil), r.close()); err != nil {
			t.Fatal(err)
		}
	}
	nothing := func(*recorder) {}
	check := func(want map[string]int) {
		t.Helper()
		got := s.failures()
		if len(got) != len(want) {
			t.Errorf("failures %+v, want %v", got, want)
		}
		for step, count := range want {
			if got[step].Count != count || got[step].Error == "" || got[step].Last.IsZero() {
				t.Errorf("%s: %+v, want %d", step, got[step], count)
			}
		}
	}
	check(nil)
	run(refused, nil, nothing)
	run(refused, refused, nothing)
	check(map[string]int{"renew apiserver": 2, "renew etcd-server": 1})
	run(nil, refused, nothing)
	check(map[string]int{"renew etcd-server": 2})
	// What failed in one run is tried again in one.
	run(refused, refused, nothing)
	run(refused, refused, nothing)
	got, retry := s.failures(), Retry{After: time.Minute, Limit: 2 * time.Minute}
	if one, other := retry.next(got["renew apiserver"], day), retry.next(got["renew etcd-server"], day); !one.Equal(other) {
		t.Errorf("tried again at %s and %s", one, other)
	}
	run(nil, refused, nothing)
	check(map[string]int{"renew etcd-server": 5})
	// What was renewed and rolled back later counts as failed.
	run(nil, nil, func(r *recorder) {
		if err := r.end("renew apiserver", "", "", errors.New("refused by the server")); err != nil {
			t.Fatal(err)
		}
	})
	check(map[string]int{"renew apiserver": 1})
	// A snapshot that failed is a failure of all that it was for.
	r, err := s.record(now, "timer", Plan{Renew: []Renewal{{Certificate: "apiserver"}, {Certificate: "etcd-server"}}})
	if err := errors.Join(err, r.begin("snapshot", ""), r.end("snapshot", "", "", errors.New("no space left on device")), r.close()); err != nil {
		t.Fatal(err)
	}
	check(map[string]int{"renew apiserver": 2, "renew etcd-server": 1})
	// So is a run that was cut off, for what it was at.
	r, err = s.record(now, "timer", Plan{})
	if err := errors.Join(err, r.begin("renew etcd-server", ""), r.close()); err != nil {
		t.Fatal(err)
	}
	check(map[string]int{"renew apiserver": 2, "renew etcd-server": 2})
}

// A clock that was set back does not hold a renewal for as long as it was ahead.
func TestHeldWithTheClockSetBack(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	o := Observation{At: now, Failures: map[string]Failure{"renew apiserver": {Count: 3, Last: now.Add(700 * day)}}}
	if until, why := o.held(Retry{After: time.Minute, Limit: time.Hour}, "renew apiserver", day); why != "" {
		t.Errorf("held until %s: %s", until, why)
	}
}
