//go:build linux

package crash_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// node is a node whose files and whose kubeadm are real. Its components are not: they
// run, and do so again when they are stopped.
type node struct {
	renew.Node
	// files has the directory that stands for / of the node.
	files string

	mu         sync.Mutex
	components map[string]renew.Component
	stopped    []string
}

// newNode is the node whose disk is mounted at dir, or was written there. dir has its
// kubeadm beside it.
func newNode(t *testing.T, dir string, now func() time.Time) *node {
	t.Helper()
	nothing := t.TempDir()
	n := &node{files: filepath.Join(dir, "root"), components: map[string]renew.Component{}}
	for _, name := range renew.Order {
		n.components[name] = renew.Component{Name: name, ID: name + "-1", Running: true, Started: time.Now()}
	}
	n.Node = renew.Node{
		Locate:     func() (pki.Layout, []error) { return pki.Locate(pki.Options{Root: n.files}) },
		Containers: pods{n}, Kubelet: kubelet{n}, Health: n, Etcd: n, Cluster: n,
		Kubeadm: renew.Kubeadm{Path: filepath.Join(filepath.Dir(dir), "kubeadm"), Timeout: time.Minute},
		Policy:  renew.Policy{Before: 30 * day, Share: 0.5, Retry: renew.Retry{After: time.Minute, Limit: 4 * time.Hour}},
		Restarts: renew.RestartOptions{Grace: map[string]time.Duration{}, GraceAlone: time.Second,
			Back: 5 * time.Second, Healthy: 5 * time.Second, Kubelet: 5 * time.Second},
		State:     renew.State{Dir: filepath.Join(dir, "state")},
		Retention: renew.Retention{Keep: 10},
		// Other tests' kubeadm is at work on this machine, too.
		Host: renew.Host{Proc: nothing, Root: nothing},
		Log:  zap.NewNop(), Now: now,
	}
	return n
}

type pods struct{ *node }

func (p pods) List(context.Context) ([]renew.Component, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []renew.Component
	for name, c := range p.components {
		if name != renew.Kubelet {
			list = append(list, c)
		}
	}
	return list, nil
}

func (p pods) Stop(_ context.Context, c renew.Component, _ time.Duration) (renew.Stopped, error) {
	p.again(c.Name)
	return renew.Stopped{Took: time.Millisecond}, nil
}

func (p pods) AwaitSuccessor(_ context.Context, old renew.Component, _ func(string)) (renew.Component, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.components[old.Name], nil
}

func (p pods) StopPod(context.Context, renew.Component) error { return nil }

func (p pods) Said(context.Context, renew.Component) (string, error) { return "", nil }

// again starts a component anew.
func (n *node) again(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.components[name]
	c.ID, c.Started = strings.TrimSuffix(c.ID, "1")+"2", time.Now()
	n.components[name] = c
	n.stopped = append(n.stopped, name)
}

// twice is a component that was stopped more than once; "" is none.
func (n *node) twice() string {
	for i, name := range n.stopped {
		if slices.Contains(n.stopped[:i], name) {
			return name
		}
	}
	return ""
}

type kubelet struct{ *node }

func (k kubelet) State(context.Context) (renew.Component, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.components[renew.Kubelet], nil
}

func (k kubelet) Healthy(context.Context) error { return nil }

func (k kubelet) Restart(context.Context) error {
	k.again(renew.Kubelet)
	return nil
}

func (n *node) Await(context.Context, string, func(string)) error { return nil }

func (n *node) Peers(context.Context) ([]string, map[string]string, error) { return nil, nil, nil }

func (n *node) Configuration(context.Context) ([]byte, error) {
	return []byte(clusterConfiguration), nil
}

// renewable are the certificates that kubeadm renews here.
func (n *node) renewable(now time.Time) map[string]pki.Certificate {
	layout, _ := n.Locate()
	found := map[string]pki.Certificate{}
	for _, c := range layout.Read(now) {
		if c.Renewer == pki.Kubeadm {
			found[c.Name] = c
		}
	}
	return found
}

// pair is what is in the files of a certificate.
func (n *node) pair(c pki.Certificate) string {
	var both string
	for _, file := range []string{c.Path, c.KeyPath} {
		content, _ := os.ReadFile(filepath.Join(n.files, file)) // none is what was lost
		both += string(content) + "\n"
	}
	return both
}
