//go:build linux

package story

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubecertd/kubecertd/renew"
)

// Gap is the time in which a component that kubecertd stopped was not there, by the
// container runtime's own times.
type Gap struct {
	Node, Component string
	Finished        time.Time // the container that was stopped
	Started         time.Time // the one after it
}

// Gaps are those of all that kubecertd has stopped since the story began.
func (n *Node) Gaps(t *testing.T) []Gap {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///containerd", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return n.DialUnix(ctx, "/run/containerd/containerd.sock")
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := cri.NewRuntimeServiceClient(conn)
	stopped := Values(n.Events(t, renew.EventRestarting), "CONTAINER_ID")
	newest, older := n.Containers(t)
	var gaps []Gap
	for _, name := range Pods {
		for _, c := range older[name] {
			if !slices.Contains(stopped, c.ID) {
				continue
			}
			before, err := client.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: c.ID})
			if err != nil {
				t.Fatal(err)
			}
			after, err := client.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: newest[name].ID})
			if err != nil {
				t.Fatal(err)
			}
			gaps = append(gaps, Gap{n.Name(), name, time.Unix(0, before.GetStatus().GetFinishedAt()), time.Unix(0, after.GetStatus().GetStartedAt())})
		}
	}
	return gaps
}
