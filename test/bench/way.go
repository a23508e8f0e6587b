//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/lab/machine"
	"github.com/kubecertd/kubecertd/test/story"
)

// way is one way to get renewed certificates loaded.
type way struct {
	id, title string
	// config is the configuration of kubecertd, for the ways that are kubecertd.
	config string
	// run goes it, and says when every holder had loaded what is on disk; the zero time
	// for the way that renews nothing.
	run func(ctx context.Context, t *trial) (loaded time.Time, err error)
}

var ways = []way{
	{"auto", "kubecertd, `restart.policy: auto`", "restart: {policy: auto}\n", kubecertd},
	{"always", "kubecertd, `restart.policy: always`", "restart: {policy: always}\n", kubecertd},
	{"documented", "the documented procedure: manifests out for 20 s, and back", "", documented},
	{"sandboxes", "all four pod sandboxes stopped and removed at once", "", sandboxes},
	{"stop", "all four containers stopped one after the other, 30 s of grace", "", stopAll},
	{"floor", "the floor: SIGKILL of kube-apiserver, nothing renewed", "", floor},
}

// kubecertd starts the daemon on a node whose certificates are due.
func kubecertd(ctx context.Context, t *trial) (time.Time, error) {
	if _, err := t.node.Run(ctx, "systemctl", "start", "kubecertd"); err != nil {
		return time.Time{}, err
	}
	for {
		entries, err := t.node.Journal(ctx, machine.Query{Unit: "kubecertd", Since: t.began,
			Match: []string{"MESSAGE_ID=" + renew.EventRunDone, "MESSAGE_ID=" + renew.EventRunFailed}})
		if err != nil {
			return time.Time{}, err
		}
		if len(entries) > 0 && entries[0]["MESSAGE_ID"] == renew.EventRunFailed {
			return time.Time{}, errors.New(entries[0].Message())
		}
		if len(entries) > 0 {
			return entries[0].Time(), nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return time.Time{}, fmt.Errorf("no run of kubecertd has ended: %w", err)
		}
	}
}

// documented is what Kubernetes' documentation says: renew, move the manifests out, wait
// 20 seconds, move them back
// (https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-certs/).
func documented(ctx context.Context, t *trial) (time.Time, error) {
	return t.byHand(ctx, func() error {
		for _, argv := range [][]string{
			{"mkdir", "-p", "/root/manifests"},
			{"sh", "-c", "mv /etc/kubernetes/manifests/*.yaml /root/manifests/"},
			{"sleep", "20"},
			{"sh", "-c", "mv /root/manifests/*.yaml /etc/kubernetes/manifests/"},
		} {
			if _, err := t.node.Run(ctx, argv...); err != nil {
				return err
			}
		}
		return nil
	})
}

// sandboxes is `crictl stopp` and `crictl rmp` of the control plane's pods, as
// widespread scripts do it.
func sandboxes(ctx context.Context, t *trial) (time.Time, error) {
	return t.byHand(ctx, func() error {
		list, err := t.cri.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{Filter: &cri.PodSandboxFilter{
			State:         &cri.PodSandboxStateValue{State: cri.PodSandboxState_SANDBOX_READY},
			LabelSelector: map[string]string{"tier": "control-plane"},
		}})
		if err != nil {
			return err
		}
		if n := len(list.GetItems()); n != len(story.Pods) {
			return fmt.Errorf("%d pod sandboxes, want %d", n, len(story.Pods))
		}
		var all sync.WaitGroup
		problems := make([]error, len(list.GetItems()))
		for i, sandbox := range list.GetItems() {
			all.Go(func() {
				_, stopped := t.cri.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: sandbox.GetId()})
				_, removed := t.cri.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: sandbox.GetId()})
				problems[i] = errors.Join(stopped, removed)
			})
		}
		all.Wait()
		return errors.Join(problems...)
	})
}

// stopAll is `crictl stop --timeout 30` of the four components' containers.
func stopAll(ctx context.Context, t *trial) (time.Time, error) {
	return t.byHand(ctx, func() error {
		for _, component := range story.Pods {
			list, err := t.cri.ListContainers(ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{
				State:         &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING},
				LabelSelector: map[string]string{"io.kubernetes.container.name": component},
			}})
			if err != nil {
				return err
			}
			for _, c := range list.GetContainers() { // none when it has just left by itself
				if _, err := t.cri.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: c.GetId(), Timeout: 30}); err != nil {
					return fmt.Errorf("stop %s: %w", component, err)
				}
			}
		}
		return nil
	})
}

// floor is the least that a restart of kube-apiserver can cost on this machine.
func floor(ctx context.Context, t *trial) (time.Time, error) {
	if _, err := t.node.Run(ctx, "sh", "-c", "kill -9 $(pidof kube-apiserver)"); err != nil {
		return time.Time{}, err
	}
	// Not healthy already because it has not been seen to be gone.
	if err := t.awaitNew(ctx, t.began, "kube-apiserver"); err != nil {
		return time.Time{}, err
	}
	return time.Time{}, t.node.WaitHealthy(ctx)
}

// byHand renews everything with kubeadm, restarts, and waits until every component is
// healthy in a process that began after the renewal, and so has read what is new.
func (t *trial) byHand(ctx context.Context, restart func() error) (loaded time.Time, err error) {
	if _, err := t.node.Run(ctx, "kubeadm", "certs", "renew", "all"); err != nil {
		return time.Time{}, err
	}
	renewed := time.Now()
	if err := restart(); err != nil {
		return time.Time{}, err
	}
	if err := t.awaitNew(ctx, renewed, story.Pods...); err != nil {
		return time.Time{}, err
	}
	err = t.node.WaitHealthy(ctx)
	return time.Now(), err
}

// awaitNew waits until each component runs in a process that began later.
func (t *trial) awaitNew(ctx context.Context, since time.Time, components ...string) error {
	for _, component := range components {
		for {
			lives, err := t.tasks.seen(component)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(lives, func(l life) bool { return l.ended.IsZero() && l.began.After(since) }) {
				break
			}
			if err := pause(ctx, 50*time.Millisecond); err != nil {
				return fmt.Errorf("%s has not come back: %w", component, err)
			}
		}
	}
	return nil
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
