package renew

import (
	"context"
	"sync"
)

// Glance is what a monitoring system asks for every minute: the look that `kubecertd
// status` shows, and whether the daemon runs. Unlike Examine it asks neither the cluster
// nor the gates, starts no other program, and writes nothing. disk says that only files
// are looked at.
func (n *Node) Glance(ctx context.Context, disk bool) Examination {
	n.ReadOnly = true
	if disk {
		o := n.ObserveDisk(n.Now())
		return Examination{Look: Look{Observation: o, Plan: Decide(o, n.Policy, Wish{})}, Disk: true}
	}
	var e Examination
	var questions sync.WaitGroup
	questions.Go(func() { e.Daemon = n.daemon(ctx) })
	o := n.Observe(ctx, n.Now())
	o.Failures = n.State.failures()
	n.Ask(ctx, &o)
	e.Look = Look{Observation: o, Proofs: Prove(o), Plan: Decide(o, n.Policy, Wish{})}
	questions.Wait()
	return e
}
