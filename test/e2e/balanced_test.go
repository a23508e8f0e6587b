//go:build linux

package e2e_test

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/test/clients"
	"github.com/kubecertd/kubecertd/test/story"
)

// throughBalancer has clients read and write through haproxy in front of all nodes.
func throughBalancer(t *testing.T, nodes []*node) *clients.Stream {
	t.Helper()
	var servers []string
	for _, n := range nodes {
		servers = append(servers, net.JoinHostPort(n.Address(), "6443"))
	}
	address := clients.Balance(t, servers...)
	kubeconfig := clients.Through(t, nodes[0].Read(t, "/etc/kubernetes/admin.conf"), address, "kubernetes.default")
	stream, err := clients.ReadAndWrite(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stream.Stop)
	return stream
}

// answered demands that no request of the clients has failed but those that were under way
// when a kube-apiserver was stopped, or met it before it was ready again; with auto, none.
func answered(t *testing.T, sent []clients.Request, gaps []story.Gap, policy string) {
	t.Helper()
	const warmUp = 30 * time.Second // until haproxy takes it in again
	reads, writes, failed := 0, 0, 0
	for _, r := range sent {
		if reads++; r.Write {
			reads, writes = reads-1, writes+1
		}
		if r.Err == nil {
			continue
		}
		if failed++; failed > 5 {
			continue // the first ones say enough
		}
		inFlight := slices.ContainsFunc(gaps, func(g story.Gap) bool {
			return g.Component == "kube-apiserver" && r.Sent.Before(g.Started.Add(warmUp)) && r.Answered.After(g.Finished.Add(-clients.Patience-10*time.Second))
		})
		if policy == "auto" || !inFlight {
			t.Errorf("a request of %s failed at %s: %v", r.Sent.Format("15:04:05.000"), r.Answered.Format("15:04:05.000"), r.Err)
		} else {
			t.Logf("failed in flight, %s to %s: %v", r.Sent.Format("15:04:05.000"), r.Answered.Format("15:04:05.000"), r.Err)
		}
	}
	t.Logf("%s: of %d reads and %d writes through the load balancer %d failed", policy, reads, writes, failed)
	if reads < 100 || writes < 100 {
		t.Errorf("only %d reads and %d writes were sent", reads, writes)
	}
	if most := len(sent) / 100; failed > most {
		t.Errorf("%d requests failed, more than one of a hundred", failed)
	}
}
