package runtime_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/task"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubecertd/kubecertd/runtime"
	"google.golang.org/protobuf/types/known/emptypb"
)

// fake is a container runtime: a real gRPC server on a real socket that keeps its
// containers in memory. Its fields may be changed by a test under mu.
type fake struct {
	cri.UnimplementedRuntimeServiceServer

	name   string // what Version says
	socket string
	stop   func()

	mu         sync.Mutex
	sandboxes  []*cri.PodSandbox
	containers []*record
	stops      []string // ids, one for each StopContainer that arrived
	kills      []string // "ID SIGNAL", and whether it is for all of its processes
	timeouts   []int64
	lists      int
	pids       map[string]int
	exit       int32 // with which containers leave when they are stopped
	onStop     func(ctx context.Context, c *record) error
	onList     func(lists int) // called under mu
	onStatus   func(c *record) error
	onSandbox  func(id string) error // before a sandbox is stopped
	sandboxed  []string              // ids, one for each StopPodSandbox that arrived
	hang       chan struct{}         // calls wait for it, if there
	listeners  map[chan *types.Envelope]bool
}

type record struct {
	*cri.Container
	status *cri.ContainerStatus
}

// serve starts a fake runtime that ends with the test.
func serve(t *testing.T, name string) *fake {
	t.Helper()
	f := &fake{name: name, socket: filepath.Join(t.TempDir(), name+".sock"), pids: map[string]int{}, listeners: map[chan *types.Envelope]bool{}}
	f.start(t)
	return f
}

// start serves on the socket until stop is called or the test ends.
func (f *fake) start(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(server, f)
	if f.name == "containerd" {
		eventsapi.RegisterEventsServer(server, fakeEvents{fake: f})
		tasksapi.RegisterTasksServer(server, fakeTasks{fake: f})
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	var once sync.Once
	f.stop = func() { once.Do(func() { server.Stop(); <-done }) }
	t.Cleanup(f.stop)
}

func (f *fake) dial(t *testing.T) *runtime.Client {
	t.Helper()
	c, err := runtime.Dial("unix://" + f.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// pod adds a sandbox; source is the annotation that tells static pods from others.
func (f *fake) pod(namespace, name, source string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := "sandbox-" + namespace + "-" + name
	f.sandboxes = append(f.sandboxes, &cri.PodSandbox{Id: id, Annotations: map[string]string{"kubernetes.io/config.source": source}})
	return id
}

// add adds a container to a pod that pod made.
func (f *fake) add(namespace, pod, name string, attempt uint32, created time.Time, state cri.ContainerState) *record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.addLocked(namespace, pod, name, attempt, created, state)
}

func (f *fake) addLocked(namespace, pod, name string, attempt uint32, created time.Time, state cri.ContainerState) *record {
	id := namespace + "-" + pod + "-" + name + "-" + strconv.Itoa(int(attempt))
	c := &record{
		Container: &cri.Container{
			Id: id, PodSandboxId: "sandbox-" + namespace + "-" + pod, State: state, CreatedAt: created.UnixNano(),
			Metadata: &cri.ContainerMetadata{Name: name, Attempt: attempt},
			Labels: map[string]string{"io.kubernetes.container.name": name, "io.kubernetes.pod.name": pod,
				"io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.uid": "uid-" + pod},
		},
		status: &cri.ContainerStatus{Id: id, State: state, CreatedAt: created.UnixNano(), StartedAt: created.Add(time.Second).UnixNano()},
	}
	if state == cri.ContainerState_CONTAINER_EXITED {
		c.status.FinishedAt = created.Add(time.Minute).UnixNano()
	}
	f.containers = append(f.containers, c)
	return c
}

// set changes a container's state.
func (c *record) set(state cri.ContainerState, exit int32, reason string) {
	c.State, c.status.State = state, state
	c.status.ExitCode, c.status.Reason = exit, reason
	if state == cri.ContainerState_CONTAINER_EXITED {
		c.status.FinishedAt = time.Now().UnixNano()
	}
}

// change runs f while no call is answered.
func (f *fake) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// emit sends an event to every subscriber.
func (f *fake) emit(topic string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l := range f.listeners {
		l <- &types.Envelope{Namespace: "k8s.io", Topic: topic}
	}
}

func (f *fake) subscribers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.listeners)
}

// wait hangs as a frozen runtime does.
func (f *fake) wait() {
	f.mu.Lock()
	hang := f.hang
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
}

func (f *fake) Version(_ context.Context, _ *cri.VersionRequest) (*cri.VersionResponse, error) {
	f.wait()
	return &cri.VersionResponse{RuntimeName: f.name, RuntimeVersion: "v2.2.1"}, nil
}

func (f *fake) ListPodSandbox(_ context.Context, _ *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	f.wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return &cri.ListPodSandboxResponse{Items: f.sandboxes}, nil
}

func (f *fake) ListContainers(_ context.Context, r *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	f.wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists++
	if f.onList != nil {
		f.onList(f.lists)
	}
	response := &cri.ListContainersResponse{}
	for _, c := range f.containers {
		matches := true
		for k, v := range r.GetFilter().GetLabelSelector() {
			matches = matches && c.Labels[k] == v
		}
		if matches {
			response.Containers = append(response.Containers, &cri.Container{Id: c.Id, PodSandboxId: c.PodSandboxId,
				State: c.State, CreatedAt: c.CreatedAt, Metadata: c.Metadata, Labels: c.Labels, Image: c.Image})
		}
	}
	return response, nil
}

func (f *fake) ContainerStatus(_ context.Context, r *cri.ContainerStatusRequest) (*cri.ContainerStatusResponse, error) {
	f.wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.find(r.GetContainerId())
	if c == nil {
		return nil, status.Errorf(codes.NotFound, "container %q not found", r.GetContainerId())
	}
	if f.onStatus != nil {
		if err := f.onStatus(c); err != nil {
			return nil, err
		}
	}
	s := c.status
	response := &cri.ContainerStatusResponse{Status: &cri.ContainerStatus{Id: s.Id, Image: s.Image, State: s.State, CreatedAt: s.CreatedAt,
		StartedAt: s.StartedAt, FinishedAt: s.FinishedAt, ExitCode: s.ExitCode, Reason: s.Reason, LogPath: s.LogPath}}
	if r.GetVerbose() {
		response.Info = map[string]string{"info": `{"sandboxID":"x","pid":` + strconv.Itoa(f.pids[s.Id]) + `}`}
	}
	return response, nil
}

func (f *fake) StopContainer(ctx context.Context, r *cri.StopContainerRequest) (*cri.StopContainerResponse, error) {
	f.mu.Lock()
	f.stops = append(f.stops, r.GetContainerId())
	f.timeouts = append(f.timeouts, r.GetTimeout())
	c, onStop := f.find(r.GetContainerId()), f.onStop
	f.mu.Unlock()
	if c == nil {
		return &cri.StopContainerResponse{}, nil
	}
	if onStop != nil {
		if err := onStop(ctx, c); err != nil {
			return nil, err
		}
	}
	f.change(func() { c.set(cri.ContainerState_CONTAINER_EXITED, f.exit, "Completed") })
	return &cri.StopContainerResponse{}, nil
}

func (f *fake) PodSandboxStatus(_ context.Context, r *cri.PodSandboxStatusRequest) (*cri.PodSandboxStatusResponse, error) {
	f.wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sandboxes {
		if s.Id == r.GetPodSandboxId() {
			return &cri.PodSandboxStatusResponse{Status: &cri.PodSandboxStatus{Id: s.Id, State: s.State, Annotations: s.Annotations}}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "sandbox %q not found", r.GetPodSandboxId())
}

func (f *fake) StopPodSandbox(_ context.Context, r *cri.StopPodSandboxRequest) (*cri.StopPodSandboxResponse, error) {
	f.wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	id := r.GetPodSandboxId()
	f.sandboxed = append(f.sandboxed, id)
	if f.onSandbox != nil {
		if err := f.onSandbox(id); err != nil {
			return nil, err
		}
	}
	for _, s := range f.sandboxes {
		if s.Id == id {
			s.State = cri.PodSandboxState_SANDBOX_NOTREADY
		}
	}
	for _, c := range f.containers {
		if c.PodSandboxId == id && c.State == cri.ContainerState_CONTAINER_RUNNING {
			c.set(cri.ContainerState_CONTAINER_EXITED, 137, "Error")
		}
	}
	return &cri.StopPodSandboxResponse{}, nil
}

func (f *fake) find(id string) *record {
	for _, c := range f.containers {
		if c.Id == id {
			return c
		}
	}
	return nil
}

// fakeTasks and fakeEvents are containerd's own services.
type fakeTasks struct {
	tasksapi.UnimplementedTasksServer
	fake *fake
}

type fakeEvents struct {
	eventsapi.UnimplementedEventsServer
	fake *fake
}

func (s fakeTasks) Get(_ context.Context, r *tasksapi.GetRequest) (*tasksapi.GetResponse, error) {
	s.fake.mu.Lock()
	defer s.fake.mu.Unlock()
	return &tasksapi.GetResponse{Process: &task.Process{Pid: uint32(s.fake.pids[r.GetContainerID()])}}, nil
}

func (s fakeTasks) Kill(_ context.Context, r *tasksapi.KillRequest) (*emptypb.Empty, error) {
	s.fake.mu.Lock()
	defer s.fake.mu.Unlock()
	s.fake.kills = append(s.fake.kills, fmt.Sprintf("%s %d all=%t", r.GetContainerID(), r.GetSignal(), r.GetAll()))
	return &emptypb.Empty{}, nil
}

func (s fakeEvents) Subscribe(_ *eventsapi.SubscribeRequest, stream eventsapi.Events_SubscribeServer) error {
	events := make(chan *types.Envelope, 10)
	s.fake.change(func() { s.fake.listeners[events] = true })
	defer s.fake.change(func() { delete(s.fake.listeners, events) })
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case e, open := <-events:
			if !open {
				return status.Error(codes.Unavailable, "containerd ends")
			}
			if err := stream.Send(e); err != nil {
				return err
			}
		}
	}
}
