//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/clients"
	"github.com/kubecertd/kubecertd/test/lab/controlplane"
	"github.com/kubecertd/kubecertd/test/lab/machine"
	"github.com/kubecertd/kubecertd/test/story"
)

const (
	// trialLimit is more than the slowest way takes.
	trialLimit = 6 * time.Minute
	// calm is how long the node is left alone before each trial, and watched after it.
	calm = 2 * time.Second
)

// trial is one going of a way, and what watches it.
type trial struct {
	node       *controlplane.Node
	kubeconfig string
	cri        cri.RuntimeServiceClient
	tasks      *watch
	leaders    *reigns
	began      time.Time
}

// result is what a trial has shown.
type result struct {
	served
	leaderless time.Duration
	loaded     time.Duration // 0 where nothing was renewed
	// ended processes of components; how many had SIGTERM, and how many died of SIGKILL
	ended, term, kill int
}

// try goes a way once, on a node that is prepared in the same manner for every way.
func (b *bench) try(ctx context.Context, w way) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	if err := b.prepare(ctx, w); err != nil {
		return r, err
	}
	kubeconfig, err := b.cluster.Kubeconfig(b.node)
	if err != nil {
		return r, err
	}
	t := &trial{node: b.node, kubeconfig: kubeconfig}
	conn, err := dialRuntime(b.node)
	if err != nil {
		return r, err
	}
	defer func() { _ = conn.Close() }()
	t.cri = cri.NewRuntimeServiceClient(conn)
	if t.tasks, err = watchTasks(ctx, conn); err != nil {
		return r, err
	}
	defer t.tasks.close()
	if t.leaders, err = watchLeader(kubeconfig); err != nil {
		return r, err
	}
	defer t.leaders.close()
	if err := t.awaitLeader(ctx); err != nil {
		return r, err
	}
	requests, err := clients.Read(kubeconfig)
	if err != nil {
		return r, err
	}
	defer requests.Stop()
	if err := pause(ctx, calm); err != nil {
		return r, err
	}

	t.began = time.Now()
	loaded, err := w.run(ctx, t)
	if err == nil {
		err = t.awaitLeader(ctx)
	}
	if err == nil {
		err = pause(ctx, calm)
	}
	if err != nil {
		return r, err
	}
	ended := time.Now()
	if r.served, err = t.judge(requests.End()); err != nil {
		return r, err
	}
	lives, err := t.tasks.seen(leader)
	if err != nil {
		return r, err
	}
	r.leaderless = leaderless(t.leaders.seen(), lives, t.began, ended)
	if !loaded.IsZero() {
		r.loaded = loaded.Sub(t.began)
		if err := b.proven(w); err != nil {
			return r, fmt.Errorf("afterwards: %w", err)
		}
	}
	return r, t.signals(ctx, &r)
}

// proven asks kubecertd whether every component in a static pod has loaded what is on
// disk, whatever way was gone. Only kubecertd restarts the kubelet, which keeps
// connections of the API server's old client certificate. What reloads its client
// certificates by itself, and is not restarted with auto, cannot be seen to do so.
func (b *bench) proven(w way) error {
	status, err := (&story.Node{Node: b.node}).Status()
	if err != nil {
		return err
	}
	seen := 0
	for _, c := range status.Certificates {
		for _, p := range c.Holders {
			if !slices.Contains(story.Pods, p.Component) {
				continue
			}
			if seen++; p.Verdict != renew.Loaded && (w.id != "auto" || p.Verdict == renew.Stale) {
				return fmt.Errorf("%s of %s is %s: %s", p.Certificate, p.Component, p.Verdict, p.Evidence)
			}
		}
	}
	if seen == 0 {
		return errors.New("status shows no holders")
	}
	return nil
}

// prepare makes the node as it is before every trial: nothing of kubecertd runs, all
// certificates are due, everything is healthy, and the kubelet has forgotten how often
// it has started containers lately, because it was restarted: it would wait 10 seconds
// and more before a second restart within 10 minutes.
func (b *bench) prepare(ctx context.Context, w way) error {
	if _, err := b.node.Run(ctx, "systemctl", "stop", "kubecertd"); err != nil {
		return err
	}
	if err := b.node.WriteFile(story.ConfigFile, []byte("# of the benchmark\n"+story.OwnClock+w.config), 0o644); err != nil {
		return err
	}
	if err := story.Age(b.node, slices.Sorted(maps.Keys(story.CertificateFiles))...); err != nil {
		return err
	}
	return b.calmKubelet(ctx)
}

// calmKubelet makes the kubelet forget its back-off.
func (b *bench) calmKubelet(ctx context.Context) error {
	if _, err := b.node.Run(ctx, "systemctl", "restart", "kubelet"); err != nil {
		return err
	}
	if err := b.node.WaitHealthy(ctx); err != nil {
		return err
	}
	return pause(ctx, calm)
}

// awaitLeader waits until a process that runs leads the controller manager.
func (t *trial) awaitLeader(ctx context.Context) error {
	for {
		lives, err := t.tasks.seen(leader)
		if err != nil {
			return err
		}
		for _, acquired := range t.leaders.seen() {
			if slices.ContainsFunc(lives, func(l life) bool { return l.ended.IsZero() && l.at(acquired) }) {
				return nil
			}
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("nobody leads %s: %w", leader, err)
		}
	}
}

// judge refuses requests that failed before the trial began.
func (t *trial) judge(requests []clients.Request) (served, error) {
	for _, r := range requests {
		if r.Err != nil && r.Answered.Before(t.began) {
			return served{}, fmt.Errorf("before it began: %w", r.Err)
		}
	}
	if len(requests) == 0 {
		return served{}, errors.New("no requests were sent")
	}
	return judge(requests), nil
}

// signals counts how the processes of the components ended. SIGTERM is in containerd's
// journal; whoever died of SIGKILL has exit code 137.
func (t *trial) signals(ctx context.Context, r *result) error {
	lives, err := t.tasks.seen("")
	if err != nil {
		return err
	}
	journal, err := t.node.Journal(ctx, machine.Query{Unit: "containerd", Since: t.began})
	if err != nil {
		return err
	}
	for _, l := range lives {
		if l.ended.IsZero() {
			continue
		}
		r.ended++
		if l.code == 137 {
			r.kill++
		}
		if slices.ContainsFunc(journal, func(e machine.Entry) bool {
			return strings.Contains(e.Message(), l.container) && strings.Contains(e.Message(), "with signal terminated")
		}) {
			r.term++
		}
	}
	return nil
}
