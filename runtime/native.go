package runtime

import (
	"context"

	events "github.com/containerd/containerd/api/services/events/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"google.golang.org/grpc/metadata"
)

// containerdNamespace is where containerd keeps what it runs for the kubelet.
const containerdNamespace = "k8s.io"

// native are containerd's own services, beside CRI on the same connection. They are
// taken as they are generated: containerd's client library knows images and registries
// too, four megabytes of program in the memory of every node.
type native struct {
	tasks  tasks.TasksClient
	events events.EventsClient
}

// containerd returns containerd's own services, or nil where the runtime is another
// one.
func (c *Client) containerd(ctx context.Context) (*native, error) {
	c.mu.Lock()
	known, services := c.known, c.native
	c.mu.Unlock()
	if known {
		return services, nil
	}
	name, _, err := c.Version(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known && name == "containerd" {
		c.native = &native{tasks.NewTasksClient(c.conn), events.NewEventsClient(c.conn)}
	}
	c.known = true
	return c.native, nil
}

// inNamespace addresses a request to what containerd runs for the kubelet (containerd:
// pkg/namespaces/grpc.go).
func inNamespace(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", containerdNamespace)
}
