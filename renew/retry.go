package renew

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"
)

// Retry says how soon something that failed is tried again.
type Retry struct {
	// After is the delay after the first failure; each further one doubles it.
	After time.Duration
	// Limit is the longest delay. It shortens as the certificate's end comes near.
	Limit time.Duration
}

// Failure is how often a step has failed in a row, by the records.
type Failure struct {
	Count int       `json:"count"`
	Run   string    `json:"run"`   // the last one in which it failed
	Last  time.Time `json:"last"`  // when that run ended
	Error string    `json:"error"` // of the last time
}

// limitShare of the time that a certificate has left is the longest delay before it is
// tried again: twenty attempts remain however late it is.
const limitShare = 20

// next is when what has failed is tried again, given the time that is left; none is
// negative. The delay is jittered by a fifth, by the run in which it failed, so that nodes
// that failed together do not come back together, that two looks agree, and that what
// failed in one run is tried again in one: every run more is a restart more.
func (r Retry) next(f Failure, left time.Duration) time.Time {
	limit := min(r.Limit, max(left/limitShare, r.After))
	delay := r.After
	for range f.Count - 1 {
		if delay *= 2; delay >= limit {
			break
		}
	}
	delay = min(delay, limit)
	h := fnv.New32a()
	h.Write([]byte(f.Run))
	share := float64(h.Sum32()%1000)/1000*0.4 - 0.2
	return f.Last.Add(delay + time.Duration(share*float64(delay)))
}

// held says until when a step that failed is not tried again, and why; zero when it
// may be tried.
func (o Observation) held(retry Retry, step string, left time.Duration) (until time.Time, why string) {
	f, failed := o.Failures[step]
	if !failed || retry.After <= 0 {
		return time.Time{}, ""
	}
	until = retry.next(f, left)
	// A clock that was set back must not hold it longer than it was meant to be.
	if !o.At.Before(until) || f.Last.After(o.At) {
		return time.Time{}, ""
	}
	times := "once"
	if f.Count > 1 {
		times = fmt.Sprintf("%d times in a row", f.Count)
	}
	return until, fmt.Sprintf("failed %s and is tried again %s (%s)", times, until.UTC().Format(time.RFC3339), f.Error)
}

// rememberedRuns is how many records are read to count failures: more than a delay
// that doubles needs to reach its limit.
const rememberedRuns = 30

// failures counts for each step how often it has failed in a row. It is read from the
// records, so that a restart of the daemon does not begin anew.
func (s State) failures() map[string]Failure {
	ids := s.runIDs()
	failures, over := map[string]Failure{}, map[string]bool{}
	for _, id := range slices.Backward(ids[max(0, len(ids)-rememberedRuns):]) {
		run, _ := s.run(id) // what can be read of it counts
		for step, problem := range run.Results() {
			if over[step] {
				continue
			}
			if problem.Error == "" {
				over[step] = true
				continue
			}
			f := failures[step]
			if f.Count++; f.Count == 1 {
				f.Run, f.Last, f.Error = id, run.Entries[len(run.Entries)-1].Time, problem.Error
			}
			failures[step] = f
		}
	}
	return failures
}

// Results are the renewals and restarts of a run with how each ended last. One that
// has begun and not ended was cut off. A snapshot that failed is a failure of all that
// was to be renewed.
func (run Run) Results() map[string]Entry {
	results := map[string]Entry{}
	for _, e := range run.Entries {
		switch {
		case strings.HasPrefix(e.Step, "renew "), strings.HasPrefix(e.Step, "restart "), strings.HasPrefix(e.Step, "copy "):
			if e.Event == "begin" {
				e.Error = "it was cut off"
			}
			results[e.Step] = e
		case strings.HasPrefix(e.Step, "restore ") && run.Entries[0].Plan != nil:
			// A repair; what a person restores is in no plan to renew.
			name := strings.TrimPrefix(e.Step, "restore ")
			if slices.Contains(names(run.Entries[0].Plan.Renew), name) {
				if e.Event == "begin" {
					e.Error = "it was cut off"
				}
				results["renew "+name] = e
			}
		case e.Step == "snapshot" && e.Event == "end" && e.Error != "" && run.Entries[0].Plan != nil:
			for _, r := range run.Entries[0].Plan.Renew {
				results["renew "+r.Certificate] = e
			}
		}
	}
	return results
}
