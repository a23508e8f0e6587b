package renew_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// fakeNode is a control-plane node whose files are real and whose processes are
// not. The same stories are told with real ones in test/e2e.
type fakeNode struct {
	*renew.Node
	t     *testing.T
	files *pkitest.Node
	dir   string // of the fake kubeadm

	prepared int           // how often renewAgain was called
	passed   time.Duration // by later
	asked    int           // for heartbeats

	mu    sync.Mutex
	steps []string // what was done to the node, in order
	pods  map[string]renew.Component
	unit  renew.Component

	// What goes wrong.
	dead           map[string]bool // does not come back once stopped
	sick           map[string]bool // comes back and is not healthy
	kubeletHealthy func() error
	peers          []string
	unhealthy      map[string]string
	peersError     error
	configuration  error
	onStop         func(name string)
	stopError      func() error
	onStopPod      func(name string)
	said           map[string]string
	onHealthy      func(name string)
	onKubelet      func() // when it is restarted
	await          func(ctx context.Context, name string, progress func(string)) error
	listError      func() error
	listed         func([]renew.Component)
}

// renewable are the names that kubeadm renews on a node of `kubeadm init`.
var renewable = []string{"admin.conf", "apiserver", "apiserver-etcd-client", "apiserver-kubelet-client", "controller-manager.conf",
	"etcd-healthcheck-client", "etcd-peer", "etcd-server", "front-proxy-client", "scheduler.conf", "super-admin.conf"}

// newFakeNode makes a node on which everything that kubeadm renews is due in ten
// days, and a kubeadm that renews it for a year.
func newFakeNode(t *testing.T) *fakeNode {
	t.Helper()
	now := time.Now()
	issued := now.Add(-355 * pkitest.Day)
	n := &fakeNode{t: t, files: pkitest.New(t, issued), dir: t.TempDir(), pods: map[string]renew.Component{},
		dead: map[string]bool{}, sick: map[string]bool{}}
	for _, name := range renewable {
		n.prepare(name, func() { n.files.Issue(name, now.Add(-time.Minute), now.Add(365*pkitest.Day)) })
		n.files.Issue(name, issued, now.Add(10*pkitest.Day))
	}
	n.files.Issue("kubelet-client", now.Add(-30*pkitest.Day), now.Add(335*pkitest.Day))
	n.files.Issue("kubelet-server", issued, now.Add(335*pkitest.Day))
	n.files.Touch(issued)
	for _, name := range renew.Order[:4] {
		n.pods[name] = renew.Component{Name: name, Version: versions[name], ID: name + "-1", Running: true, Started: now.Add(-354 * pkitest.Day)}
	}
	n.unit = renew.Component{Name: renew.Kubelet, ID: "kubelet-1", Running: true, Started: now.Add(-354 * pkitest.Day)}
	n.kubeletHealthy = func() error { return nil }
	n.Node = &renew.Node{
		Locate:     func() (pki.Layout, []error) { return pki.Locate(pki.Options{Root: n.files.Root}) },
		Containers: pods{n}, Kubelet: unit{n}, Health: n, Etcd: n, Cluster: n,
		Kubeadm: renew.Kubeadm{Path: n.kubeadm(), Timeout: 20 * time.Second},
		Clocks: func() (renew.Clocks, error) {
			return renew.Clocks{Boot: "this", Wall: time.Now(), Up: 400*pkitest.Day + time.Since(now) + n.passed}, nil
		},
		Policy: renew.Policy{Before: shipped.Before, Share: shipped.Share, Retry: renew.Retry{After: time.Minute, Limit: 4 * time.Hour}},
		Restarts: renew.RestartOptions{Grace: map[string]time.Duration{renew.APIServer: 10 * time.Second}, GraceAlone: time.Second,
			Back: 5 * time.Second, Healthy: 5 * time.Second, Kubelet: 5 * time.Second},
		State: renew.State{Dir: t.TempDir()},
		Host:  renew.Host{Proc: t.TempDir(), Root: t.TempDir()}, // nobody else is at work
		Log:   zap.NewNop(), Now: time.Now, Retention: renew.Retention{Keep: 10},
	}
	return n
}

// prepare keeps what a change writes for the fake kubeadm to copy into place.
func (n *fakeNode) prepare(name string, change func()) {
	n.t.Helper()
	change()
	for _, file := range []string{n.files.Certificate(name), n.files.Key(name)} {
		inside, err := filepath.Rel(n.files.Root, file)
		if err != nil {
			n.t.Fatal(err)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			n.t.Fatal(err)
		}
		to := filepath.Join(n.dir, "new", name, inside)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, content, 0o600)); err != nil {
			n.t.Fatal(err)
		}
	}
}

// kubeadm writes a program that renews what was prepared, unless a file of the
// certificate's name says what to do instead.
func (n *fakeNode) kubeadm() string {
	body := `if [ "$1" = version ]; then echo v1.36.3; exit; fi
if [ "$1 $2" = "init phase" ]; then
	case $3 in
	certs) name=$4; dir=$(sed -n 's/^certificatesDir: //p' "$6") root=${dir%/etc/kubernetes/pki} ;;
	kubeconfig) name=$4.conf root=${8%/etc/kubernetes} ;;
	esac
	echo "make $name" >>` + n.dir + `/calls
	cp "$6" ` + n.dir + `/config-$name
	if [ -e ` + n.dir + `/instead-$name ]; then . ` + n.dir + `/instead-$name; exit; fi
	cp -r ` + n.dir + `/new/$name/. "$root"
	exit
fi
if [ "$1" = kubeconfig ]; then
echo "$@" >>` + n.dir + `/printed
if [ -e ` + n.dir + `/instead-kubeconfig ]; then . ` + n.dir + `/instead-kubeconfig; exit; fi
exec cat ` + n.dir + `/kubeconfig
fi
name=$3
echo "renew $name" >>` + n.dir + `/calls
if [ -e ` + n.dir + `/instead-$name ]; then . ` + n.dir + `/instead-$name; exit; fi
cp -r ` + n.dir + `/new/$name/. ` + n.files.Root + `/`
	return script(n.t, 0o755, body)
}

// instead makes the fake kubeadm run this for a certificate.
func (n *fakeNode) instead(name, shell string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, "instead-"+name), []byte(shell+"\n"), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// renewAgain prepares another new certificate, for a renewal that follows one.
func (n *fakeNode) renewAgain(name string) {
	n.t.Helper()
	file := n.files.Certificate(name)
	content, err := os.ReadFile(file)
	if err != nil {
		n.t.Fatal(err)
	}
	now := time.Now()
	n.prepared++
	n.prepare(name, func() {
		n.files.Issue(name, now.Add(-time.Minute), now.Add(365*pkitest.Day+time.Duration(n.prepared)*time.Hour))
	})
	if err := os.WriteFile(file, content, 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// later makes the node believe that so much time has passed.
func (n *fakeNode) later(d time.Duration) {
	n.Now = func() time.Time { return time.Now().Add(d) }
	n.passed = d
}

// calls are the certificates that kubeadm was asked to renew, and those to "make".
func (n *fakeNode) calls() []string {
	content, _ := os.ReadFile(filepath.Join(n.dir, "calls"))
	var names []string
	for line := range strings.Lines(string(content)) {
		names = append(names, strings.TrimPrefix(strings.TrimSpace(line), "renew "))
	}
	return names
}

func (n *fakeNode) step(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.steps = append(n.steps, text)
}

func (n *fakeNode) done() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.steps)
}

type pods struct{ *fakeNode }

func (p pods) List(ctx context.Context) ([]renew.Component, error) {
	if p.listError != nil {
		if err := p.listError(); err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []renew.Component
	for _, c := range p.pods {
		list = append(list, c)
	}
	if p.listed != nil {
		p.listed(list)
	}
	return list, nil
}

func (p pods) Stop(_ context.Context, c renew.Component, grace time.Duration) (renew.Stopped, error) {
	if p.stopError != nil {
		if err := p.stopError(); err != nil {
			return renew.Stopped{}, err
		}
	}
	p.step("stop " + c.ID)
	if c.Name == renew.APIServer {
		p.step("grace " + grace.String())
	}
	p.mu.Lock()
	c.Running = false
	p.pods[c.Name] = c
	p.mu.Unlock()
	if p.onStop != nil {
		p.onStop(c.Name)
	}
	return renew.Stopped{Took: time.Millisecond}, nil
}

func (p pods) AwaitSuccessor(_ context.Context, old renew.Component, progress func(string)) (renew.Component, error) {
	progress("a new container")
	if p.dead[old.Name] {
		return renew.Component{}, errors.New("no new container within 5s")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old.ID, old.Running, old.Started = strings.TrimSuffix(old.ID, "1")+"2", true, time.Now()
	p.pods[old.Name] = old
	return old, nil
}

func (p pods) StopPod(_ context.Context, c renew.Component) error {
	p.step("stop pod of " + c.ID)
	if p.onStopPod != nil {
		p.onStopPod(c.Name)
	}
	return nil
}

func (p pods) Said(_ context.Context, c renew.Component) (string, error) { return p.said[c.Name], nil }

type unit struct{ *fakeNode }

func (u unit) State(context.Context) (renew.Component, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.unit, nil
}

func (u unit) Healthy(context.Context) error { return u.kubeletHealthy() }

func (u unit) Restart(context.Context) error {
	u.step("restart kubelet")
	u.mu.Lock()
	defer u.mu.Unlock()
	u.unit.ID, u.unit.Started, u.unit.Running = "kubelet-2", time.Now(), true
	if u.onKubelet != nil {
		u.onKubelet()
	}
	return nil
}

func (n *fakeNode) Await(ctx context.Context, component string, progress func(string)) error {
	n.step("healthy " + component)
	if n.await != nil {
		return n.await(ctx, component, progress)
	}
	if n.onHealthy != nil {
		n.onHealthy(component)
	}
	if n.sick[component] {
		return errors.New("readyz: 500")
	}
	return nil
}

func (n *fakeNode) Peers(context.Context) ([]string, map[string]string, error) {
	return n.peers, n.unhealthy, n.peersError
}

func (n *fakeNode) Configuration(context.Context) ([]byte, error) {
	if n.configuration != nil {
		return nil, n.configuration
	}
	return []byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.36.3\nencryptionAlgorithm: ECDSA-P256\n"), nil
}
