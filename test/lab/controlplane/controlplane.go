//go:build linux

// Package controlplane runs real kubeadm control planes on one machine, for
// tests, the demonstration and the benchmark, and for a person at a shell.
package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/machine"
	"github.com/kubecertd/kubecertd/test/lab/parts"
	"github.com/kubecertd/kubecertd/test/lab/progress"
)

// DefaultName is the name of a lab that was given none.
const DefaultName = "kubecertd"

// maxNodes is what fits into the memory of a machine that people have.
const maxNodes = 9

// Options say what to bring up. The zero value is one node of the default
// Kubernetes version.
type Options struct {
	// Name tells the labs of one host apart.
	Name string
	// Nodes is the number of control-plane nodes, named cp1, cp2, …
	Nodes int
	// Kubernetes is a version such as 1.36.3, or 1.35 for a patch of it.
	Kubernetes string
	// Validity is the lifetime of the certificates that kubeadm makes, when
	// it is not zero. kubeadm knows it as certificateValidityPeriod.
	Validity time.Duration
	// CertificatesDir is where they lie, and Algorithm that of their keys, such as
	// ECDSA-P256; empty for kubeadm's own. MintCertificates knows no other directory.
	CertificatesDir, Algorithm string
	// Progress is told what takes time. Nil is silent.
	Progress io.Writer
}

// Cluster is a control plane. Any process can open it by its name.
type Cluster struct {
	lab   *machine.Lab
	facts facts
	// Nodes are in the order in which they joined.
	Nodes []*Node
}

// facts are what is kept on disk of a cluster beside its machines.
type facts struct {
	Kubernetes string `json:"kubernetes"`
	// Ready is when all of it was healthy for the first time.
	Ready time.Time `json:"ready,omitzero"`
}

// Up brings a control plane up, after removing what an earlier one of the
// same name left, and returns when all its components are healthy. The first
// time it builds what it needs, which takes minutes. When it fails, what is
// there stays for a look, and Down or the next Up removes it.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.Nodes < 0 || o.Nodes > maxNodes {
		return nil, fmt.Errorf("%d nodes: want 1 to %d", o.Nodes, maxNodes)
	}
	if missing := Missing(); len(missing) > 0 {
		return nil, errors.New(strings.Join(missing, "\n"))
	}
	out := progress.New(o.Progress)
	cache, err := parts.OpenCache("")
	if err != nil {
		return nil, err
	}
	set, err := cache.Build(ctx, o.Kubernetes, out)
	if err != nil {
		return nil, err
	}
	release, err := machine.Lock(ctx, o.Name, func() {
		out.Printf("another process makes or removes the lab %s, waiting for it", o.Name)
	})
	if err != nil {
		return nil, err
	}
	defer release()
	return raise(ctx, o, set, out)
}

// raise does what Up promises, once the parts are there and the name is ours.
func raise(ctx context.Context, o Options, set *parts.Set, out *progress.Printer) (*Cluster, error) {
	lab, err := machine.Create(ctx, o.Name)
	if err != nil {
		return nil, err
	}
	c := &Cluster{lab: lab, facts: facts{Kubernetes: set.Kubernetes}}
	if err := c.save(); err != nil {
		return nil, err
	}
	v, err := commonValues(o, set)
	if err != nil {
		return nil, err
	}
	if err := c.addNodes(o.Nodes, v, set); err != nil {
		return nil, err
	}
	if err := c.boot(ctx, out); err != nil {
		return nil, err
	}
	if err := c.form(ctx, v, out); err != nil {
		return nil, err
	}
	c.facts.Ready = time.Now()
	return c, c.save()
}

// Open returns the cluster that a process brought up under this name.
func Open(name string) (*Cluster, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	lab, err := machine.Open(name)
	if err != nil {
		return nil, err
	}
	c := &Cluster{lab: lab}
	data, err := os.ReadFile(c.factsFile())
	if err == nil {
		err = json.Unmarshal(data, &c.facts)
	}
	if err != nil {
		return nil, fmt.Errorf("open the control plane of lab %s: %w", name, err)
	}
	for _, m := range lab.Machines() {
		c.Nodes = append(c.Nodes, &Node{Machine: m})
	}
	return c, nil
}

// Down removes the lab of that name with all that it made on this host, in
// whatever state it is. It is no error when there is none.
func Down(ctx context.Context, name string) error {
	if err := needRoot(); err != nil {
		return err
	}
	release, err := machine.Lock(ctx, name, nil)
	if err != nil {
		return err
	}
	defer release()
	return machine.Remove(ctx, name)
}

// Down removes the cluster with all that it made on this host.
func (c *Cluster) Down(ctx context.Context) error { return Down(ctx, c.Name()) }

// Name is the name of the lab.
func (c *Cluster) Name() string { return c.lab.Name() }

// Kubernetes is the version of the cluster, such as v1.36.3.
func (c *Cluster) Kubernetes() string { return c.facts.Kubernetes }

// Ready is when the cluster was up; zero when it never was.
func (c *Cluster) Ready() time.Time { return c.facts.Ready }

// Node returns the node of that name.
func (c *Cluster) Node(name string) (*Node, error) {
	var names []string
	for _, n := range c.Nodes {
		if n.Name() == name {
			return n, nil
		}
		names = append(names, n.Name())
	}
	return nil, fmt.Errorf("lab %s has no node %q, only %s", c.Name(), name, strings.Join(names, ", "))
}

func (c *Cluster) addNodes(count int, v values, set *parts.Set) error {
	var names []string
	for i := range count {
		names = append(names, fmt.Sprintf("cp%d", i+1))
	}
	hosts := hostsFile(names, c.lab.Address)
	for i, name := range names {
		v.Name, v.Address = name, c.lab.Address(i)
		system, err := files(v, hosts)
		if err != nil {
			return err
		}
		m, err := c.lab.Add(machine.Spec{
			Name: name, Layers: set.Layers, Files: system,
			Volumes: map[string]string{"/var/lib/containerd": set.Store, "/var/lib/etcd": ""},
		})
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, &Node{Machine: m})
	}
	return nil
}

// boot switches all nodes on at once.
func (c *Cluster) boot(ctx context.Context, out *progress.Printer) error {
	title := fmt.Sprintf("boot %d node(s)", len(c.Nodes))
	return out.Do(title, 2*time.Second, func() error {
		var booting sync.WaitGroup
		problems := make([]error, len(c.Nodes))
		for i, n := range c.Nodes {
			booting.Go(func() { problems[i] = n.firstBoot(ctx) })
		}
		booting.Wait()
		return errors.Join(problems...)
	})
}

func (c *Cluster) factsFile() string { return filepath.Join(c.lab.Dir(), "cluster.json") }

func (c *Cluster) save() error {
	data, err := json.Marshal(c.facts)
	if err == nil {
		err = os.WriteFile(c.factsFile(), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("record the control plane of lab %s: %w", c.Name(), err)
	}
	return nil
}
