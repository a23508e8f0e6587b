//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// What a request is: one of a steady stream, each on a connection of its own, as from
// many clients that do not wait for each other. It reads an object that the API server
// has to ask etcd for.
const (
	requestEvery = 20 * time.Millisecond
	// requestDeadline is what a client waits at most; then it has failed.
	requestDeadline = 5 * time.Second
	// requestSlow is what a person notices.
	requestSlow = time.Second
	requestPath = "/api/v1/namespaces/default"
)

// request is one that was sent.
type request struct {
	sent, answered time.Time
	err            error
}

// stream is requests that are being sent.
type stream struct {
	stop func()
	sent sync.WaitGroup // the one that sends

	mu       sync.Mutex
	requests []request
}

// apiClient is a client for the API server of a kubeconfig, which makes a connection
// for each request unless they are to be kept.
func apiClient(kubeconfig string, keep bool) (client *http.Client, server string, err error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, "", err
	}
	var security *tls.Config
	if security, err = rest.TLSConfigFor(config); err != nil {
		return nil, "", err
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: security, DisableKeepAlives: !keep}}, config.Host, nil
}

// sendRequests sends requests, at fixed times and whatever becomes of those before,
// until it is stopped.
func sendRequests(kubeconfig string) (*stream, error) {
	client, server, err := apiClient(kubeconfig, false)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &stream{stop: stop}
	s.sent.Go(func() {
		var answers sync.WaitGroup
		defer answers.Wait()
		ticker := time.NewTicker(requestEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				answers.Go(func() { s.send(client, server+requestPath) })
			}
		}
	})
	return s, nil
}

func (s *stream) send(client *http.Client, url string) {
	ctx, cancel := context.WithTimeout(context.Background(), requestDeadline)
	defer cancel()
	r := request{sent: time.Now()}
	_, r.err = get(ctx, client, url)
	r.answered = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
}

// end stops sending, waits for what was sent, and returns all in the order in which it
// was sent.
func (s *stream) end() []request {
	s.stop()
	s.sent.Wait()
	slices.SortFunc(s.requests, func(a, b request) int { return a.sent.Compare(b.sent) })
	return s.requests
}

// get returns what a server answers with 200.
func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", url, answer.Status, body)
	}
	return body, err
}

// served is what the requests have seen of the API.
type served struct {
	// away is the time without API in seconds, longest that at a stretch.
	away, longest time.Duration
	failed, slow  int
}

// judge finds the times without API: each from the sending of a request that failed to
// the first answer to one that was sent later.
func judge(requests []request) served {
	var s served
	var until time.Time // no request that was sent before then begins another time
	for i, r := range requests {
		switch {
		case r.err != nil:
			s.failed++
		case r.answered.Sub(r.sent) > requestSlow:
			s.slow++
		}
		if r.err == nil || r.sent.Before(until) {
			continue
		}
		until = time.Time{}
		for _, later := range requests[i+1:] {
			if later.err == nil && (until.IsZero() || later.answered.Before(until)) {
				until = later.answered
			}
		}
		if until.IsZero() { // it was away to the end
			until = requests[len(requests)-1].answered
		}
		s.away += until.Sub(r.sent)
		s.longest = max(s.longest, until.Sub(r.sent))
	}
	return s
}
