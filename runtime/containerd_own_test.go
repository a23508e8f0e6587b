package runtime_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubecertd/kubecertd/runtime"
)

// ownContainerd is a containerd of our own, with a kubelet's part played by the test.
type ownContainerd struct {
	dir, socket string
	cri         cri.RuntimeServiceClient
	sandbox     *cri.PodSandboxConfig
}

// startContainerd starts containerd with its files in a temporary directory. It ends
// with the test, and so does everything it runs.
func startContainerd(t *testing.T) *ownContainerd {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a real containerd: not with -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("a container runtime needs root")
	}
	programs := map[string]string{}
	for _, program := range []string{"containerd", "runc", "go"} {
		if programs[program] = find(program); programs[program] == "" {
			t.Skipf("%s is not installed: apt-get install containerd runc", program)
		}
	}
	// Not t.TempDir: its path is too long for the sockets of shims.
	dir, err := os.MkdirTemp("", "kubecertd-cri-")
	if err != nil {
		t.Fatal(err)
	}
	r := &ownContainerd{dir: dir, socket: filepath.Join(dir, "containerd.sock")}
	config := fmt.Sprintf(`version = 2
root = %q
state = %q
[grpc]
address = %q
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = %q
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
`, dir+"/root", dir+"/state", r.socket, image)
	r.write(t, "config.toml", config)

	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	// It must not outlive a test that is killed. The signal follows the thread that
	// started it, so this one is kept.
	goruntime.LockOSThread()
	process, err := os.StartProcess(programs["containerd"], []string{"containerd", "--config", dir + "/config.toml"}, &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{nil, log, log}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("unix://"+r.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	r.cri = cri.NewRuntimeServiceClient(conn)
	t.Cleanup(func() {
		r.removeAll(t)
		_ = conn.Close()
		_ = process.Signal(syscall.SIGTERM)
		_, _ = process.Wait()
		_ = log.Close()
		if t.Failed() {
			content, _ := os.ReadFile(log.Name())
			t.Logf("containerd said:\n%s", content[max(0, len(content)-8000):])
		}
		// runc removes the containers' cgroups and leaves their parent, in every
		// hierarchy there is.
		parents, _ := filepath.Glob("/sys/fs/cgroup/*/" + filepath.Base(dir))
		for _, parent := range append(parents, "/sys/fs/cgroup/"+filepath.Base(dir)) {
			if err := os.Remove(parent); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something is left of containerd: %v", err)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("something is left of containerd: %v", err)
		}
	})
	until(t, "containerd", func() bool {
		status, err := r.cri.Status(t.Context(), &cri.StatusRequest{})
		return err == nil && status.GetStatus().GetConditions()[0].GetStatus()
	})
	r.load(t, programs["go"])
	return r
}

// find looks for a program; os/exec is for package renew alone.
func find(program string) string {
	for _, dir := range filepath.SplitList(os.Getenv("PATH") + ":/usr/sbin:/usr/local/go/bin") {
		path := filepath.Join(dir, program)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

func (r *ownContainerd) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// load builds the component and imports it as an image.
func (r *ownContainerd) load(t *testing.T, compiler string) {
	t.Helper()
	program := filepath.Join(r.dir, "component")
	process, err := os.StartProcess(compiler, []string{"go", "build", "-buildvcs=false", "-o", program, "./testdata/component"},
		&os.ProcAttr{Env: append(os.Environ(), "CGO_ENABLED=0"), Files: []*os.File{nil, os.Stderr, os.Stderr}})
	if err != nil {
		t.Fatal(err)
	}
	if state, err := process.Wait(); err != nil || !state.Success() {
		t.Fatalf("go build: %v, %v", state, err)
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}

	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "component", Mode: 0o755, Size: int64(len(binary))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(binary); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.dir, "layer.tar")
	r.write(t, "layer.tar", layer.String())
	l, err := tarball.LayerFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.Config(img, v1.Config{Entrypoint: []string{"/component"}})
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(image)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := tarball.Write(tag, img, &archive); err != nil {
		t.Fatal(err)
	}

	client, err := containerd.New(r.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	imported, err := client.Import(ctx, &archive, containerd.WithAllPlatforms(true))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range imported {
		if err := containerd.NewImage(client, i).Unpack(ctx, "native"); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := grpc.NewClient("unix://"+r.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	until(t, "the image", func() bool {
		status, err := cri.NewImageServiceClient(conn).ImageStatus(t.Context(), &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: image}})
		return err == nil && status.GetImage() != nil
	})
}

// pod makes a sandbox as the kubelet does for a static pod.
func (r *ownContainerd) pod(t *testing.T, name, source string) string {
	t.Helper()
	r.sandbox = &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Namespace: "kube-system", Uid: "uid-" + name},
		LogDirectory: filepath.Join(r.dir, "logs"),
		Labels:       map[string]string{"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "kube-system", "io.kubernetes.pod.uid": "uid-" + name},
		Annotations:  map[string]string{"kubernetes.io/config.source": source},
		Linux: &cri.LinuxPodSandboxConfig{CgroupParent: "/" + filepath.Base(r.dir), SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER}}},
	}
	return r.run(t)
}

// podAgain makes another sandbox for the last pod.
func (r *ownContainerd) podAgain(t *testing.T) string {
	t.Helper()
	r.sandbox.Metadata.Attempt++
	return r.run(t)
}

func (r *ownContainerd) run(t *testing.T) string {
	t.Helper()
	response, err := r.cri.RunPodSandbox(t.Context(), &cri.RunPodSandboxRequest{Config: r.sandbox})
	if err != nil {
		t.Fatal(err)
	}
	return response.GetPodSandboxId()
}

// start makes and starts a container in the last pod.
func (r *ownContainerd) start(t *testing.T, sandbox, component string, attempt uint32, arguments ...string) string {
	t.Helper()
	labels := map[string]string{"io.kubernetes.container.name": component}
	for k, v := range r.sandbox.Labels {
		labels[k] = v
	}
	log := fmt.Sprintf("%s-%d.log", component, attempt)
	created, err := r.cri.CreateContainer(t.Context(), &cri.CreateContainerRequest{
		PodSandboxId: sandbox, SandboxConfig: r.sandbox,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: component, Attempt: attempt},
			Image:    &cri.ImageSpec{Image: image},
			Args:     arguments,
			Labels:   labels,
			LogPath:  log,
			Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER}}},
		}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.cri.StartContainer(t.Context(), &cri.StartContainerRequest{ContainerId: created.GetContainerId()}); err != nil {
		t.Fatal(err)
	}
	until(t, "the component being ready", func() bool {
		content, err := os.ReadFile(filepath.Join(r.dir, "logs", log))
		return err == nil && strings.Contains(string(content), "ready")
	})
	return created.GetContainerId()
}

func (r *ownContainerd) removeAll(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list, err := r.cri.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		t.Errorf("list of sandboxes to remove: %v", err)
	}
	for _, s := range list.GetItems() {
		if _, err := r.cri.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: s.GetId()}); err != nil {
			t.Error(err)
		}
		if _, err := r.cri.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: s.GetId()}); err != nil {
			t.Error(err)
		}
	}
}

func (r *ownContainerd) dial(t *testing.T) *runtime.Client {
	t.Helper()
	client, err := runtime.Dial("unix://" + r.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}
