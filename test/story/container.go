//go:build linux

package story

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubecertd/kubecertd/renew"
)

// Pods are the components that run in static Pods, in the order of restarts.
var Pods = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// Container is one container of a component.
type Container struct {
	ID      string
	Attempt uint32
	Running bool
}

// Containers are the newest containers of all components, and those before them.
func (n *Node) Containers(t *testing.T) (newest map[string]Container, older map[string][]Container) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///containerd", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return n.DialUnix(ctx, "/run/containerd/containerd.sock")
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	answer, err := cri.NewRuntimeServiceClient(conn).ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	newest, older = map[string]Container{}, map[string][]Container{}
	for _, x := range answer.GetContainers() {
		name := x.GetLabels()["io.kubernetes.container.name"]
		c := Container{x.GetId(), x.GetMetadata().GetAttempt(), x.GetState() == cri.ContainerState_CONTAINER_RUNNING}
		last, there := newest[name]
		if there && last.Attempt > c.Attempt {
			last, c = c, last
		}
		newest[name] = c
		if there {
			older[name] = append(older[name], last)
		}
	}
	return newest, older
}

// State is all that a story may find changed or untouched.
type State struct {
	Files      map[string]FileState
	Containers map[string]Container
	Kubelet    string // the unit's invocation
}

// Observe takes the node's state.
func (n *Node) Observe(t *testing.T) State {
	t.Helper()
	s := State{Files: n.Files(t), Containers: map[string]Container{}, Kubelet: n.Unit(t, "kubelet")["InvocationID"]}
	newest, _ := n.Containers(t)
	for _, name := range Pods {
		s.Containers[name] = newest[name]
	}
	return s
}

// Untouched demands that nothing has changed since.
func (n *Node) Untouched(t *testing.T, since State) {
	t.Helper()
	if diff := cmp.Diff(since, n.Observe(t)); diff != "" {
		t.Fatalf("the node was touched (-before +after):\n%s", diff)
	}
}

// RestartedOnce demands that exactly these components run in another container, the one
// that comes after the one before, and that kubecertd has stopped no other. Those that
// have just begun to lead leave by themselves when the API goes away: they need not be
// stopped then.
func (n *Node) RestartedOnce(t *testing.T, since State, names ...string) {
	t.Helper()
	api := slices.Contains(names, "kube-apiserver")
	stopped := Values(n.Events(t, renew.EventRestarting), "COMPONENT")
	for _, name := range Pods {
		count := strings.Count(strings.Join(stopped, "\n")+"\n", name+"\n")
		leads := name == "kube-controller-manager" || name == "kube-scheduler"
		switch want := slices.Contains(names, name); {
		case want && count == 1, !want && count == 0, want && leads && api && count == 0:
		default:
			t.Errorf("kubecertd has stopped %s %d times", name, count)
		}
	}
	newest, older := n.Containers(t)
	for _, name := range Pods {
		before, now := since.Containers[name], newest[name]
		if !now.Running {
			t.Errorf("%s does not run: %+v", name, now)
		}
		switch named := slices.Contains(names, name); {
		case named && (now.ID == before.ID || now.Attempt != before.Attempt+1):
			t.Errorf("%s: the container was %+v and is %+v: want the one after it", name, before, now)
		case !named && now.ID != before.ID && !api:
			t.Errorf("%s: the container was %+v and is %+v: want the same", name, before, now)
		}
		for _, c := range older[name] {
			if c.Running {
				t.Errorf("%s: the container %+v still runs beside its successor", name, c)
			}
		}
	}
}

// KubeletRestarted demands that the kubelet's unit is another invocation, or the same.
func (n *Node) KubeletRestarted(t *testing.T, since State, want bool) {
	t.Helper()
	u := n.Unit(t, "kubelet")
	if u["ActiveState"] != "active" {
		t.Errorf("the kubelet is %s", u["ActiveState"])
	}
	if got := u["InvocationID"] != since.Kubelet; got != want {
		t.Errorf("the kubelet's invocation was %s and is %s: restarted = %t, want %t", since.Kubelet, u["InvocationID"], got, want)
	}
}

// APIWorks uses the API with the admin.conf that is on disk.
func (n *Node) APIWorks(t *testing.T) {
	t.Helper()
	out := n.MustRun(t, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "get", "nodes", "--output=name")
	if err := Contains(out, fmt.Sprintf("node/%s\n", n.Name())); err != nil {
		t.Error(err)
	}
}
