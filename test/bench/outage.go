//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

// outages measures how long the API is away when all certificates are renewed and
// everything is restarted: by kubecertd, by the documented procedure, and, as the
// least that any restart can cost on this machine, when kube-apiserver alone is killed
// (https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-certs/:
// renew, move the manifests out, wait 20 seconds, move them back).
func outages(ctx context.Context, node *controlplane.Node, repeat int) error {
	fmt.Printf("\n%-44s %10s %10s %10s\n", "API unavailable, everything renewed", "median", "least", "most")
	medians := map[string]time.Duration{}
	for _, way := range []struct {
		name string
		run  [][]string
	}{
		{"kubecertd renew --all", [][]string{{"kubecertd", "renew", "--all"}}},
		{"documented: manifests out, 20 s, and back", [][]string{
			{"kubeadm", "certs", "renew", "all"},
			{"mkdir", "-p", "/root/manifests"},
			{"sh", "-c", "mv /etc/kubernetes/manifests/*.yaml /root/manifests/"},
			{"sleep", "20"},
			{"sh", "-c", "mv /root/manifests/*.yaml /etc/kubernetes/manifests/"},
		}},
		// The kubelet forgets that it restarted the container a moment ago.
		{"floor: kube-apiserver killed, nothing else", [][]string{
			{"systemctl", "restart", "kubelet"}, {"sleep", "3"}, {"sh", "-c", "kill -9 $(pidof kube-apiserver)"},
		}},
	} {
		var away []time.Duration
		for range repeat {
			total, err := outage(ctx, node, way.run)
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			away = append(away, total)
		}
		slices.Sort(away)
		medians[way.name] = away[len(away)/2]
		fmt.Printf("%-44s %8.2f s %8.2f s %8.2f s\n", way.name, away[len(away)/2].Seconds(), away[0].Seconds(), away[len(away)-1].Seconds())
	}
	ours := medians["kubecertd renew --all"].Seconds()
	fmt.Printf("the documented way takes %.1f times as long as kubecertd, and kubecertd %.1f times the floor\n",
		medians["documented: manifests out, 20 s, and back"].Seconds()/ours, ours/medians["floor: kube-apiserver killed, nothing else"].Seconds())
	return nil
}

// outage is how long the API was away while the commands ran and until the node
// was healthy again.
func outage(ctx context.Context, node *controlplane.Node, commands [][]string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	poll := node.PollAPI(ctx, 10*time.Millisecond)
	for _, argv := range commands {
		if _, err := node.Run(ctx, argv...); err != nil {
			poll.Stop()
			return 0, err
		}
	}
	err := node.WaitHealthy(ctx)
	return poll.Stop().Total(), err
}
