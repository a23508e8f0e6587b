//go:build linux

package controlplane

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// What ends a probe that gets no answer, which counts as not available then: how long
// the API is away is measured to a second; whether a request fails at all is asked with the
// patience of a client on a machine that has other things to do.
const (
	pollTimeout = time.Second
	Patience    = 10 * time.Second
)

// Window is a time in which the API did not answer that it was ready.
type Window struct {
	// Start is when the first probe that went wrong was sent.
	Start time.Time
	// End is when the first one that went well again was answered, or when
	// the polling stopped.
	End time.Time
	// Err is what went wrong first.
	Err error
}

// Duration is the length of the window.
func (w Window) Duration() time.Duration { return w.End.Sub(w.Start) }

// Availability is what a Poll has seen.
type Availability struct {
	Probes  int
	Windows []Window
}

// Total is the time in which the API was not available.
func (a Availability) Total() time.Duration {
	var total time.Duration
	for _, w := range a.Windows {
		total += w.Duration()
	}
	return total
}

// Longest is the longest time at a stretch in which it was not available.
func (a Availability) Longest() time.Duration {
	var longest time.Duration
	for _, w := range a.Windows {
		longest = max(longest, w.Duration())
	}
	return longest
}

func (a Availability) String() string {
	var windows []string
	for _, w := range a.Windows {
		windows = append(windows, fmt.Sprintf("%s: %v", w.Duration().Round(time.Millisecond), w.Err))
	}
	if len(windows) == 0 {
		return fmt.Sprintf("always available in %d probes", a.Probes)
	}
	return fmt.Sprintf("not available for %s (%s) in %d probes",
		a.Total().Round(time.Millisecond), strings.Join(windows, ", "), a.Probes)
}

// Poll asks an API server for its readiness again and again.
type Poll struct {
	stop func()
	done sync.WaitGroup
	seen Availability
}

// PollAPI starts to ask https://address/readyz every interval, each time on a
// new connection, until Stop or until ctx ends. One probe at a time is under
// way, and may take as long as the timeout.
func PollAPI(ctx context.Context, address string, interval, timeout time.Duration) *Poll {
	ctx, stop := context.WithCancel(ctx)
	p := &Poll{stop: stop}
	client := &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DialContext:       (&net.Dialer{}).DialContext,
			DisableKeepAlives: true,
			// Whether it answers is asked, not who does.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		},
	}
	p.done.Go(func() {
		p.run(ctx, interval, func() error { return probe(ctx, client, "https://"+address+"/readyz") })
	})
	return p
}

// PollAPI polls the API server of this node, see the function of this name.
func (n *Node) PollAPI(ctx context.Context, interval time.Duration) *Poll {
	return PollAPI(ctx, net.JoinHostPort(n.Address(), "6443"), interval, pollTimeout)
}

// PollRequests is PollAPI with the patience of a client.
func (n *Node) PollRequests(ctx context.Context, interval time.Duration) *Poll {
	return PollAPI(ctx, net.JoinHostPort(n.Address(), "6443"), interval, Patience)
}

// Stop ends the polling and returns what it has seen.
func (p *Poll) Stop() Availability {
	p.stop()
	p.done.Wait()
	return p.seen
}

func (p *Poll) run(ctx context.Context, interval time.Duration, ready func() error) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var away *Window
	for {
		asked := time.Now()
		err := ready()
		if ctx.Err() != nil {
			break
		}
		p.seen.Probes++
		switch {
		case err != nil && away == nil:
			away = &Window{Start: asked, Err: err}
		case err == nil && away != nil:
			away.End = time.Now()
			p.seen.Windows = append(p.seen.Windows, *away)
			away = nil
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	if away != nil {
		away.End = time.Now()
		p.seen.Windows = append(p.seen.Windows, *away)
	}
}
