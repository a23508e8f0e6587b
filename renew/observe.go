package renew

import (
	"context"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Component is a process that holds certificates, as it runs now.
type Component struct {
	Name string `json:"name"`
	// Pod is the name of a static pod, with the node's; empty for what is none.
	Pod string `json:"pod,omitempty"`
	// Version is what the component runs, as its image is tagged; empty when unknown.
	Version string `json:"version,omitempty"`
	// ID is what changes when the component is restarted: the container's id, or
	// the unit's invocation id.
	ID string `json:"id,omitempty"`
	// Running says that the process is there. Detail says how it is in words:
	// "running", "exited with 1", "active (running)".
	Running bool   `json:"running"`
	Detail  string `json:"detail,omitempty"`
	// Stopped says that a unit does not run because somebody has stopped it, or never
	// started it, and not because it fails.
	Stopped bool `json:"stopped,omitempty"`
	// Started is when the process started, from the process itself where it can be
	// read; zero when unknown.
	Started time.Time `json:"started,omitzero"`
	// Restarts is how often the component was started before, as far as its
	// supervisor remembers.
	Restarts uint32 `json:"restarts"`
}

// Observation is everything one look saw. Decide and Prove are pure functions
// of it.
type Observation struct {
	At           time.Time         `json:"at"`
	ControlPlane bool              `json:"controlPlane"`
	Certificates []pki.Certificate `json:"certificates"`
	Served       []pki.Served      `json:"served,omitempty"`
	Components   []Component       `json:"components"`
	// Contents are what each certificate's file has held, the newest last.
	Contents map[string][]Content `json:"-"`
	// Others are the static pods, besides kubeadm's, that see certificates of ours.
	Others []pki.Holder `json:"others,omitempty"`
	// Copies are the kubeconfigs that may be copies of admin.conf. Before is which
	// certificates were in it by the snapshots, by SHA-256; it is only known when a copy
	// holds something else than what is there now.
	Copies []SeenCopy        `json:"copies,omitempty"`
	Before map[string]string `json:"-"`
	// Spares are what the snapshots have of the certificates that are damaged, by name, the
	// newest first.
	Spares map[string][]Spare `json:"-"`
	// Uses are what Ask has found about client certificates of the API server.
	Uses map[string]Use `json:"uses,omitempty"`
	// Serving is what has become of the kubelet's requests for a serving certificate; nil
	// where it need not ask.
	Serving *Serving `json:"serving,omitempty"`
	// Paused is the pause that is in force; nil when there is none.
	Paused *Pause `json:"paused,omitempty"`
	// Clock is what speaks against the host's clock.
	Clock Clock `json:"clock,omitzero"`
	// Busy is what else is at work on the host.
	Busy []Busy `json:"busy,omitempty"`
	// Problems are the parts of the node that could not be looked at, and why. What
	// depends on them is unknown, not fine.
	Problems []Problem `json:"problems,omitempty"`
	// Failures are the steps that failed the last time, by their name in the records.
	Failures map[string]Failure `json:"failures,omitempty"`
}

// Problem is something that could not be observed.
type Problem struct {
	What string `json:"what"` // "containers", "kubelet", "paths"
	Err  string `json:"error"`
}

// Component finds a component by name.
func (o Observation) Component(name string) (Component, bool) {
	for _, c := range o.Components {
		if c.Name == name {
			return c, true
		}
	}
	return Component{}, false
}

// Certificate finds a certificate by name.
func (o Observation) Certificate(name string) (pki.Certificate, bool) {
	for _, c := range o.Certificates {
		if c.Name == name {
			return c, true
		}
	}
	return pki.Certificate{}, false
}

// problem is what went wrong when looking at something; empty when nothing did.
func (o Observation) problem(what string) string {
	for _, p := range o.Problems {
		if p.What == what {
			return p.Err
		}
	}
	return ""
}

// served finds the answer of the port that shows a certificate.
func (o Observation) served(component, certificate string) (pki.Served, bool) {
	for _, s := range o.Served {
		if s.Endpoint.Component == component && s.Endpoint.Certificate == certificate {
			return s, true
		}
	}
	return pki.Served{}, false
}

// What an Observation's Problem can be about.
const (
	problemContainers = "containers"
	problemKubelet    = "kubelet"
	problemPaths      = "paths"
)

// ObserveDisk looks at files only: no port, socket or process is asked.
func (n *Node) ObserveDisk(now time.Time) Observation {
	layout, problems := n.Locate()
	o := Observation{At: now, ControlPlane: layout.ControlPlane, Certificates: layout.Read(now), Others: layout.Holders(), Paused: n.State.Paused(now)}
	for _, p := range problems {
		o.Problems = append(o.Problems, Problem{problemPaths, p.Error()})
	}
	n.observeWatched(&o)
	n.observeCopies(&o)
	n.observeSpares(&o)
	return o
}

// Observe looks at everything: files, ports, containers and the kubelet's unit, and what
// is only watched. It always ends, however broken the node is.
func (n *Node) Observe(ctx context.Context, now time.Time) Observation {
	o := n.observe(ctx, now)
	n.observeWatched(&o)
	n.observeCopies(&o)
	n.observeSpares(&o)
	return o
}

// observe looks at what a run depends on. It always ends, within the deadlines of its
// parts (about two seconds).
func (n *Node) observe(ctx context.Context, now time.Time) Observation {
	ctx, cancel := context.WithTimeout(ctx, observeDeadline)
	defer cancel()

	layout, problems := n.Locate()
	served := make(chan []pki.Served, 1)
	go func() { served <- pki.ProbeAll(ctx, layout.Endpoints()) }()
	type seen struct {
		components []Component
		err        error
	}
	pods := make(chan seen, 1)
	go func() {
		components, err := n.Containers.List(ctx)
		pods <- seen{components, err}
	}()
	kubelet, kubeletErr := n.Kubelet.State(ctx)

	o := Observation{At: now, ControlPlane: layout.ControlPlane, Certificates: layout.Read(now), Others: layout.Holders(),
		Paused: n.State.Paused(now), Busy: n.Host.Busy()}
	o.Contents = n.contents(o.Certificates)
	o.Clock = n.clock(now, o.Certificates)
	for _, p := range problems {
		o.Problems = append(o.Problems, Problem{problemPaths, p.Error()})
	}
	static := <-pods
	if static.err != nil {
		o.Problems = append(o.Problems, Problem{problemContainers, static.err.Error()})
	}
	o.Components = append(o.Components, ordered(static.components, o.Others)...)
	if kubeletErr != nil {
		o.Problems = append(o.Problems, Problem{problemKubelet, kubeletErr.Error()})
	} else {
		o.Components = append(o.Components, kubelet)
	}
	o.Served = <-served
	o.Certificates = append(o.Certificates, pki.InMemory(o.Served, now)...)
	return o
}

// observeDeadline bounds one look at sockets and ports.
const observeDeadline = 1800 * time.Millisecond
