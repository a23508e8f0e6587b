//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	taskevents "github.com/containerd/containerd/api/events"
	containers "github.com/containerd/containerd/api/services/containers/v1"
	events "github.com/containerd/containerd/api/services/events/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	task "github.com/containerd/containerd/api/types/task"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

// dialRuntime connects to the container runtime of a node.
func dialRuntime(node *controlplane.Node) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///containerd", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return node.DialUnix(ctx, "/run/containerd/containerd.sock")
		}))
}

// life is one process of a component.
type life struct {
	component, container string
	began                time.Time // zero when it ran before it was watched
	ended                time.Time // zero while it runs
	code                 uint32    // 137: SIGKILL
}

// at says whether the process lived then.
func (l life) at(t time.Time) bool {
	return !l.began.After(t) && (l.ended.IsZero() || l.ended.After(t))
}

// watch sees every process of every component begin and end, those of containers that
// are removed at once too: containerd itself says so.
type watch struct {
	stop context.CancelFunc
	done sync.WaitGroup
	conn *grpc.ClientConn

	mu    sync.Mutex
	lives []life
	err   error
}

// watchTasks watches until it is closed.
func watchTasks(ctx context.Context, conn *grpc.ClientConn) (*watch, error) {
	ctx, stop := context.WithCancel(metadata.AppendToOutgoingContext(ctx, "containerd-namespace", "k8s.io"))
	w := &watch{stop: stop, conn: conn}
	stream, err := events.NewEventsClient(conn).Subscribe(ctx, &events.SubscribeRequest{Filters: []string{`topic=="/tasks/start"`, `topic=="/tasks/exit"`}})
	if err != nil {
		stop()
		return nil, fmt.Errorf("events of containerd: %w", err)
	}
	running, err := tasks.NewTasksClient(conn).List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		stop()
		return nil, fmt.Errorf("list tasks of containerd: %w", err)
	}
	for _, t := range running.GetTasks() {
		if t.GetStatus() == task.Status_RUNNING {
			w.begin(ctx, t.GetID(), time.Time{})
		}
	}
	w.done.Go(func() {
		for {
			e, err := stream.Recv()
			if err == nil {
				err = w.take(ctx, e.GetTopic(), e.GetEvent().GetValue(), e.GetTimestamp().AsTime())
			}
			if err != nil {
				w.mu.Lock()
				defer w.mu.Unlock()
				if ctx.Err() == nil {
					w.err = err
				}
				return
			}
		}
	})
	return w, nil
}

// take takes one event.
func (w *watch) take(ctx context.Context, topic string, value []byte, at time.Time) error {
	if topic == "/tasks/start" {
		var e taskevents.TaskStart
		if err := proto.Unmarshal(value, &e); err != nil {
			return err
		}
		w.begin(ctx, e.GetContainerID(), at)
		return nil
	}
	var e taskevents.TaskExit
	if err := proto.Unmarshal(value, &e); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.IndexFunc(w.lives, func(l life) bool { return l.container == e.GetContainerID() }); i >= 0 && e.GetID() == e.GetContainerID() {
		w.lives[i].ended, w.lives[i].code = e.GetExitedAt().AsTime(), e.GetExitStatus()
	}
	return nil
}

// begin remembers a container of a pod. What has no container's name is its sandbox.
func (w *watch) begin(ctx context.Context, id string, at time.Time) {
	answer, err := containers.NewContainersClient(w.conn).Get(ctx, &containers.GetContainerRequest{ID: id})
	name := answer.GetContainer().GetLabels()["io.kubernetes.container.name"]
	if err != nil || name == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lives = append(w.lives, life{component: name, container: id, began: at})
}

// seen are the lives of a component so far; of all when it is empty.
func (w *watch) seen(component string) ([]life, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []life
	for _, l := range w.lives {
		if component == "" || l.component == component {
			list = append(list, l)
		}
	}
	if w.err != nil {
		return nil, fmt.Errorf("events of containerd: %w", w.err)
	}
	if len(list) == 0 {
		return nil, errors.New("containerd has no container of " + component)
	}
	return list, nil
}

func (w *watch) close() {
	w.stop()
	w.done.Wait()
}
