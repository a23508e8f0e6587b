//go:build linux

// Package clients is what uses the API while something is done to the control plane: many
// clients that do not wait for each other, and a load balancer in front of the nodes.
package clients

import (
	"bytes"
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

const (
	// every is between two requests: 50 a second.
	every = 20 * time.Millisecond
	// Patience is what a client waits at most; then its request has failed.
	Patience = 5 * time.Second

	namespacePath  = "/api/v1/namespaces/default"
	configMapsPath = namespacePath + "/configmaps"
	// objects are written to, one after the other: the API server lets those who change the
	// same one wait for each other.
	objects = 50
)

// written is one of the objects that are written to.
func written(number int) string { return fmt.Sprintf("requests-%d", number%objects) }

// Request is one that was sent.
type Request struct {
	Sent, Answered time.Time
	// Write says that it changed an object, Err why it was not answered with 200.
	Write bool
	Err   error
}

// Stream is requests that are being sent.
type Stream struct {
	stop   func()
	sender sync.WaitGroup

	mu       sync.Mutex
	requests []Request
}

// New is a client for the API server of a kubeconfig, which makes a connection for each
// request unless they are to be kept.
func New(kubeconfig string, keep bool) (client *http.Client, server string, err error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, "", err
	}
	var security *tls.Config
	if security, err = rest.TLSConfigFor(config); err != nil {
		return nil, "", err
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: security, DisableKeepAlives: !keep, MaxIdleConnsPerHost: 10}}, config.Host, nil
}

// Read sends 50 requests a second, each on a connection of its own, at fixed times and
// whatever becomes of those before, until it is stopped. Each reads an object for which
// kube-apiserver asks etcd.
func Read(kubeconfig string) (*Stream, error) {
	client, server, err := New(kubeconfig, false)
	if err != nil {
		return nil, err
	}
	return send(client, server, false), nil
}

// ReadAndWrite sends as many, and every other one changes an object. The connections are
// kept, as Kubernetes' clients do, and as a machine can bear that runs several API servers.
func ReadAndWrite(kubeconfig string) (*Stream, error) {
	client, server, err := New(kubeconfig, true)
	if err != nil {
		return nil, err
	}
	if err := create(client, server); err != nil {
		return nil, err
	}
	return send(client, server, true), nil
}

func send(client *http.Client, server string, writes bool) *Stream {
	ctx, stop := context.WithCancel(context.Background())
	s := &Stream{stop: stop}
	s.sender.Go(func() {
		var answers sync.WaitGroup
		defer answers.Wait()
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				answers.Go(func() { s.send(client, server, writes && n%2 == 1, n) })
			}
		}
	})
	return s
}

// create makes the objects that are written to, where they are not there.
func create(client *http.Client, server string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for n := range objects {
		object := fmt.Sprintf(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": %q}}`, written(n))
		if _, err := do(ctx, client, http.MethodPost, server+configMapsPath, "application/json", object, http.StatusCreated, http.StatusConflict); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stream) send(client *http.Client, server string, write bool, number int) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	r := Request{Sent: time.Now(), Write: write}
	if write {
		patch := fmt.Sprintf(`{"data": {"number": "%d"}}`, number)
		_, r.Err = do(ctx, client, http.MethodPatch, server+configMapsPath+"/"+written(number/2), "application/merge-patch+json", patch, http.StatusOK)
	} else {
		_, r.Err = Get(ctx, client, server+namespacePath)
	}
	r.Answered = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
}

// Stop sends no more.
func (s *Stream) Stop() { s.stop() }

// End sends no more, waits for what was sent, and returns all in the order in which it
// was sent.
func (s *Stream) End() []Request {
	s.stop()
	s.sender.Wait()
	slices.SortFunc(s.requests, func(a, b Request) int { return a.Sent.Compare(b.Sent) })
	return s.requests
}

// Get returns what a server answers with 200.
func Get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	return do(ctx, client, http.MethodGet, url, "", "", http.StatusOK)
}

// do returns what a server answers with one of these.
func do(ctx context.Context, client *http.Client, method, url, kind, body string, wanted ...int) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(answer.Body)
	if err == nil && !slices.Contains(wanted, answer.StatusCode) {
		err = fmt.Errorf("%s %s: %s: %s", method, url, answer.Status, content)
	}
	return content, err
}
