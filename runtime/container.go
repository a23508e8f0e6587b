package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Labels and annotations that the kubelet writes (kubelet: types/labels.go,
// types/constants.go). A sandbox whose source is "file" belongs to a static pod;
// nobody but the kubelet can make one.
const (
	labelContainer   = "io.kubernetes.container.name"
	labelPod         = "io.kubernetes.pod.name"
	labelNamespace   = "io.kubernetes.pod.namespace"
	labelUID         = "io.kubernetes.pod.uid"
	annotationSource = "kubernetes.io/config.source"
	sourceFile       = "file"
)

// systemNamespace is where kubeadm's static pods are.
const systemNamespace = "kube-system"

// Container is one container of a static pod, as the runtime describes it.
type Container struct {
	// ID is the runtime's id. Component is the container's name in its pod, which
	// for kubeadm's static pods is the component's name.
	ID, Component string
	// Namespace, Pod and PodUID identify the pod. The UID is a hash of the manifest,
	// so a changed manifest is another pod of the same name. Sandbox is the id of
	// the pod's sandbox.
	Namespace, Pod, PodUID, Sandbox string
	// Image is what the container runs, as its pod names it, or else the runtime's name
	// for it; an id where there is neither.
	Image string
	// Attempt counts the containers of this name in this pod, from 0.
	Attempt uint32
	Running bool
	// Created, Started and Finished are what the runtime's clock said at that time;
	// zero when it has not happened.
	Created, Started, Finished time.Time
	// ExitCode and Reason are of a container that has exited.
	ExitCode int32
	Reason   string
	// PID is the container's first process, as this host counts; 0 when it is
	// unknown or the container does not run.
	PID int
	// ProcessStarted is when that process started, from the kernel; zero when it is
	// unknown. See ProcessStart.
	ProcessStarted time.Time
}

// StaticPods returns, for every container of every static pod, the newest one: the
// one that runs, or else the one that exited last. Those of kube-system come first.
func (c *Client) StaticPods(ctx context.Context) ([]Container, error) {
	sandboxes := map[string]bool{} // ids of those that come from a file
	err := c.call(ctx, "list pod sandboxes", func(ctx context.Context) error {
		r, err := c.cri.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
		for _, s := range r.GetItems() {
			if s.GetAnnotations()[annotationSource] == sourceFile {
				sandboxes[s.GetId()] = true
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	all, err := c.list(ctx, nil)
	if err != nil {
		return nil, err
	}
	var found []Container
	for _, container := range newest(all, func(x Container) bool { return sandboxes[x.Sandbox] }) {
		container, err := c.describe(ctx, container)
		if status.Code(err) == codes.NotFound {
			continue // removed meanwhile by the kubelet; the next look sees its successor
		}
		if err != nil {
			return nil, err
		}
		found = append(found, container)
	}
	return found, nil
}

// list returns the containers that carry all of these labels, without what only
// describe finds out.
func (c *Client) list(ctx context.Context, labels map[string]string) ([]Container, error) {
	var containers []Container
	err := c.call(ctx, "list containers", func(ctx context.Context) error {
		r, err := c.cri.ListContainers(ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{LabelSelector: labels}})
		for _, x := range r.GetContainers() {
			l := x.GetLabels()
			containers = append(containers, Container{
				ID:        x.GetId(),
				Component: l[labelContainer],
				Namespace: l[labelNamespace],
				Pod:       l[labelPod],
				PodUID:    l[labelUID],
				Sandbox:   x.GetPodSandboxId(),
				Image:     x.GetImage().GetUserSpecifiedImage(),
				Attempt:   x.GetMetadata().GetAttempt(),
				Running:   x.GetState() == cri.ContainerState_CONTAINER_RUNNING,
				Created:   timestamp(x.GetCreatedAt()),
			})
		}
		return err
	})
	return containers, err
}

// newest keeps one container for each name in each pod. While an old container is
// still leaving, two may run.
func newest(containers []Container, wanted func(Container) bool) []Container {
	type key struct{ namespace, pod, container string }
	found := map[key]Container{}
	for _, x := range containers {
		if !wanted(x) {
			continue
		}
		k := key{x.Namespace, x.Pod, x.Component}
		if other, ok := found[k]; !ok || (x.Running && !other.Running) || (x.Running == other.Running && follows(x, other)) {
			found[k] = x
		}
	}
	list := make([]Container, 0, len(found))
	for _, x := range found {
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b Container) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Pod, b.Pod),
			cmp.Compare(a.Component, b.Component),
		)
	})
	return list
}

// follows says whether a was made after b. Within one sandbox the kubelet counts,
// which no clock can upset. In a new sandbox of the same pod it goes on counting, or
// begins anew where the old containers' records and logs are gone (kubelet:
// kuberuntime_container.go, startContainer).
func follows(a, b Container) bool {
	same := a.Sandbox == b.Sandbox || a.Sandbox == "" || b.Sandbox == ""
	if a.PodUID == b.PodUID && same && a.Attempt != b.Attempt {
		return a.Attempt > b.Attempt
	}
	return a.Created.After(b.Created)
}

// rank puts the control plane before the static pods of others, which may use the
// same names.
func rank(x Container) int {
	if x.Namespace == systemNamespace {
		return 0
	}
	return 1
}

// describe completes a container with what only its status and its process tell.
// An error of code NotFound is returned as it is.
func (c *Client) describe(ctx context.Context, x Container) (Container, error) {
	native, err := c.containerd(ctx)
	if err != nil {
		return x, err
	}
	// Whether it runs is asked again: the list may be older than its start.
	info, err := c.status(ctx, &x, native == nil)
	if err != nil || !x.Running {
		return x, err
	}
	if x.PID = verbosePID(info); native != nil {
		x.PID = c.taskPID(ctx, native, x.ID)
	}
	var started time.Time
	if x.PID > 0 {
		if started, err = ProcessStart(x.PID); err != nil {
			x.PID = 0 // gone meanwhile
		}
	}
	// Only now is it certain that the process just looked at was the container's: it
	// still runs, so its number was not given to another.
	if _, err := c.status(ctx, &x, false); err != nil {
		return x, err
	}
	if x.Running {
		x.ProcessStarted = started
	} else {
		x.PID = 0
	}
	return x, nil
}

// status asks for a container's status; the result is the runtime's own information
// when verbose.
func (c *Client) status(ctx context.Context, x *Container, verbose bool) (map[string]string, error) {
	var missing error
	var info map[string]string
	err := c.call(ctx, "describe container "+short(x.ID)+" of "+x.Component, func(ctx context.Context) error {
		r, err := c.cri.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: x.ID, Verbose: verbose})
		if status.Code(err) == codes.NotFound {
			missing = err
			return nil
		}
		if err != nil {
			return err
		}
		if r.GetStatus() == nil {
			return status.Error(codes.Internal, "the answer has no status")
		}
		s := r.GetStatus()
		x.Running = s.GetState() == cri.ContainerState_CONTAINER_RUNNING
		x.Created, x.Started, x.Finished = timestamp(s.GetCreatedAt()), timestamp(s.GetStartedAt()), timestamp(s.GetFinishedAt())
		x.ExitCode, x.Reason = s.GetExitCode(), s.GetReason()
		// An older kubelet says only by which id it wants the image; the status has
		// its tag.
		x.Image = cmp.Or(x.Image, s.GetImage().GetImage())
		info = r.GetInfo()
		return nil
	})
	if missing != nil {
		return nil, missing
	}
	return info, err
}

// taskPID asks containerd for the process of a container; 0 when it does not know.
func (c *Client) taskPID(ctx context.Context, native *native, id string) int {
	ctx, cancel := context.WithTimeout(inNamespace(ctx), callTimeout)
	defer cancel()
	r, err := native.tasks.Get(ctx, &tasks.GetRequest{ContainerID: id})
	if err != nil {
		return 0
	}
	return int(r.GetProcess().GetPid())
}

// verbosePID finds the process in the information that containerd and CRI-O both
// give as JSON under "info".
func verbosePID(info map[string]string) int {
	var v struct {
		PID int `json:"pid"`
	}
	if json.Unmarshal([]byte(info["info"]), &v) != nil {
		return 0
	}
	return v.PID
}

// Version is the tag of the container's image, such as v1.36.3 or 3.6.8-0; empty for an
// image that is named by its digest or id alone.
func (x Container) Version() string {
	name, _, _ := strings.Cut(x.Image, "@")
	_, tag, _ := strings.Cut(name[strings.LastIndexByte(name, '/')+1:], ":")
	if strings.HasPrefix(name, "sha256:") {
		return ""
	}
	return tag
}

func (x Container) String() string {
	return fmt.Sprintf("%s/%s container %s, attempt %d (%s)", x.Namespace, x.Pod, x.Component, x.Attempt, short(x.ID))
}

// short is an id as crictl shows it.
func short(id string) string { return id[:min(len(id), 13)] }

// timestamp converts CRI's nanoseconds, of which 0 means never.
func timestamp(nanoseconds int64) time.Time {
	if nanoseconds <= 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds)
}
