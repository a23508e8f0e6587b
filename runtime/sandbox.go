package runtime

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// StopSandbox stops the whole sandbox of a static pod's container, so that the
// kubelet makes a new one with new containers (kubelet: kuberuntime/util,
// PodSandboxChanged). It returns when the runtime says that it is over, within 30 s.
//
// It is the stronger remedy, for a pod that a new container does not help: whatever
// runs in the sandbox is killed at once, without SIGTERM (containerd:
// internal/cri/server/sandbox_stop.go). A sandbox of another kind of pod is refused:
// only static pods come back without the API server. One that is stopped or gone
// already is left alone, so that asking twice never costs two stops.
func (c *Client) StopSandbox(ctx context.Context, container Container) error {
	ctx, cancel := context.WithTimeout(ctx, stopMargin)
	defer cancel()
	what := "the sandbox " + short(container.Sandbox) + " of " + container.String()
	if container.Sandbox == "" {
		return fmt.Errorf("the sandbox of %s is not known: it was not stopped", container)
	}
	sandbox, err := c.sandboxStatus(ctx, container.Sandbox)
	switch {
	case err != nil:
		return fmt.Errorf("%s was not stopped: %w", what, err)
	case sandbox == nil || sandbox.GetState() != cri.PodSandboxState_SANDBOX_READY:
		return nil
	case sandbox.GetAnnotations()[annotationSource] != sourceFile:
		return fmt.Errorf("%s was not stopped: it is not a static pod's, and nothing here would bring it back", what)
	}
	began := time.Now()
	_, err = c.cri.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: container.Sandbox})
	if err != nil && status.Code(err) != codes.NotFound {
		return c.endpoint.explain("stop "+what, time.Since(began), err)
	}
	// The kubelet goes by the sandbox's state.
	sandbox, err = c.sandboxStatus(ctx, container.Sandbox)
	switch {
	case err != nil:
		return fmt.Errorf("%s was asked to stop: %w", what, err)
	case sandbox != nil && sandbox.GetState() == cri.PodSandboxState_SANDBOX_READY:
		return fmt.Errorf("%s is still ready although the runtime said that it was stopped: look at `crictl pods`", what)
	}
	return nil
}

// sandboxStatus is nil when there is no such sandbox.
func (c *Client) sandboxStatus(ctx context.Context, id string) (sandbox *cri.PodSandboxStatus, err error) {
	err = c.call(ctx, "describe pod sandbox "+short(id), func(ctx context.Context) error {
		r, err := c.cri.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: id})
		switch {
		case status.Code(err) == codes.NotFound:
			return nil
		case err != nil:
			return err
		case r.GetStatus() == nil:
			return status.Error(codes.Internal, "the answer has no status")
		}
		sandbox = r.GetStatus()
		return nil
	})
	return sandbox, err
}
