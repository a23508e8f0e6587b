package renew

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// Static pods of others (kube-vip, a proxy) are not kubeadm's and still read what it
// renews. Nobody knows of them whether they take up a new file by themselves, so that
// only a restart counts; nor where they would say that they are healthy, so that what
// can be seen is that they run again and go on running.

const (
	// foreignGrace is how long one has between SIGTERM and SIGKILL: what a pod has that
	// does not say otherwise (kubernetes: terminationGracePeriodSeconds).
	foreignGrace = 30 * time.Second
	// steadyPoll is how often is looked whether it runs.
	steadyPoll = 250 * time.Millisecond
)

// steady is how long one must run without a break after its restart to count as back.
var steady = 5 * time.Second

// foreign says whether a component is a static pod of others.
func foreign(component string) bool { return !slices.Contains(Order, component) }

// shares says whether a component is one of several containers of its pod, which would go
// down with the pod: a sidecar of kube-apiserver's is not worth that (pki.Holder.Name).
func shares(component string) bool { return strings.Contains(component, "/") }

// order is the order of restarts on a node: the static pods of others, by name, follow
// the API server that they may need, and the kubelet brings them back.
func order(others []pki.Holder) []string {
	names := slices.Clone(Order[:len(Order)-1])
	for _, other := range others {
		names = append(names, other.Name())
	}
	return append(names, Kubelet)
}

// ordered keeps the components that hold certificates of ours, in restart order. Those
// of others get the names by which they are called here.
func ordered(components []Component, others []pki.Holder) []Component {
	called := make([]string, len(components))
	for i, c := range components {
		if other, ok := identify(c, others); ok {
			called[i] = other.Name()
		} else if !foreign(c.Name) {
			called[i] = c.Name
		}
	}
	var kept []Component
	for _, name := range order(others) {
		for i, c := range components {
			if called[i] == name {
				c.Name = name
				kept = append(kept, c)
			}
		}
	}
	return kept
}

// identify finds the holder that a container is. The kubelet puts the node's name after
// that of the pod (kubelet: config/common.go, generatePodName).
func identify(c Component, others []pki.Holder) (found pki.Holder, ok bool) {
	for _, other := range others {
		if c.Name == other.Container && strings.HasPrefix(c.Pod, other.Pod+"-") && len(other.Pod) > len(found.Pod) {
			found, ok = other, true
		}
	}
	return found, ok
}

// awaitSteady waits until a static pod of others runs, and has gone on for some seconds.
func (r *run) awaitSteady(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, r.Restarts.Healthy)
	defer cancel()
	began, crashed, say := r.Now(), crashes{seen: map[string]bool{}, looked: r.Now()}, r.progress(name)
	var id string
	for since := began; ; {
		c, ok := r.find(ctx, name)
		switch {
		case !ok || !c.Running:
			id = ""
		case c.ID != id:
			id, since = c.ID, r.Now()
		case r.Now().Sub(since) >= steady:
			r.log.Info("component restarted", event(EventRestarted), zap.String("component", name), zap.Duration("healthy_after", r.Now().Sub(began)),
				zap.String("proof", fmt.Sprintf("it has been running for %s; it has no health endpoint that is known", steady)))
			return nil
		}
		say("it to go on running")
		if err := crashed.again(ctx, r, name); err != nil {
			return fmt.Errorf("%s was started again and does not stay up: %w: look at `crictl logs` of its container", name, err)
		}
		select {
		case <-ctx.Done():
			err := errors.New("no container of it runs")
			if ok {
				err = errors.New("its container " + c.Detail)
			}
			return fmt.Errorf("%s was started again and does not stay up: %w: look at `crictl logs` of its container", name, err)
		case <-time.After(steadyPoll):
		}
	}
}
