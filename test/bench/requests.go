//go:build linux

package main

import (
	"time"

	"github.com/kubecertd/kubecertd/test/clients"
)

// requestSlow is what a person notices.
const requestSlow = time.Second

// served is what the requests have seen of the API.
type served struct {
	// away is the time without API in seconds, longest that at a stretch.
	away, longest time.Duration
	failed, slow  int
}

// judge finds the times without API: each from the sending of a request that failed to
// the first answer to one that was sent later.
func judge(requests []clients.Request) served {
	var s served
	var until time.Time // no request that was sent before then begins another time
	for i, r := range requests {
		switch {
		case r.Err != nil:
			s.failed++
		case r.Answered.Sub(r.Sent) > requestSlow:
			s.slow++
		}
		if r.Err == nil || r.Sent.Before(until) {
			continue
		}
		until = time.Time{}
		for _, later := range requests[i+1:] {
			if later.Err == nil && (until.IsZero() || later.Answered.Before(until)) {
				until = later.Answered
			}
		}
		if until.IsZero() { // it was away to the end
			until = requests[len(requests)-1].Answered
		}
		s.away += until.Sub(r.Sent)
		s.longest = max(s.longest, until.Sub(r.Sent))
	}
	return s
}
