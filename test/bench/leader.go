//go:build linux

package main

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/kubecertd/kubecertd/test/clients"
)

const (
	leader      = "kube-controller-manager"
	leasePath   = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/" + leader
	leaseEvery  = 200 * time.Millisecond
	leasePeriod = 2 * time.Second // the deadline of one question
)

// reigns asks again and again who leads the controller manager. When each leader took
// over is in the lease itself, to the microsecond, so that nothing is lost while the API
// is away.
type reigns struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu       sync.Mutex
	acquired []time.Time
}

func watchLeader(kubeconfig string) (*reigns, error) {
	client, server, err := clients.New(kubeconfig, true)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &reigns{stop: stop}
	r.done.Go(func() {
		defer client.CloseIdleConnections()
		for ctx.Err() == nil {
			limit, cancel := context.WithTimeout(ctx, leasePeriod)
			body, err := clients.Get(limit, client, server+leasePath)
			cancel()
			var lease struct {
				Spec struct {
					HolderIdentity string    `json:"holderIdentity"`
					AcquireTime    time.Time `json:"acquireTime"`
				} `json:"spec"`
			}
			// A lease that was given up names nobody.
			if err == nil && json.Unmarshal(body, &lease) == nil && lease.Spec.HolderIdentity != "" {
				r.note(lease.Spec.AcquireTime)
			}
			select {
			case <-ctx.Done():
			case <-time.After(leaseEvery):
			}
		}
	})
	return r, nil
}

func (r *reigns) note(acquired time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.acquired, acquired) {
		r.acquired = append(r.acquired, acquired)
	}
}

// seen is when each leader so far took over.
func (r *reigns) seen() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.acquired)
}

func (r *reigns) close() {
	r.stop()
	r.done.Wait()
}

// leaderless is the time between from and to in which no living process held the lease:
// from the end of the one that did to when the next one took over, whether or not the
// API could be asked meanwhile.
func leaderless(acquired []time.Time, lives []life, from, to time.Time) time.Duration {
	acquired = slices.SortedFunc(slices.Values(acquired), time.Time.Compare)
	var without time.Duration
	covered := from // somebody has led up to here, or the time is counted
	for _, a := range acquired {
		i := slices.IndexFunc(lives, func(l life) bool { return l.at(a) })
		if i < 0 {
			continue // of a process that was gone before it was watched
		}
		end := lives[i].ended
		if end.IsZero() || end.After(to) {
			end = to
		}
		if a.After(covered) {
			without += a.Sub(covered)
		}
		if end.After(covered) {
			covered = end
		}
	}
	if to.After(covered) {
		without += to.Sub(covered)
	}
	return without
}
