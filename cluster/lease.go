package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// LeaderLease is the coordination.k8s.io Lease in kube-system by which
// kube-controller-manager or kube-scheduler leads; it has the component's name.
type LeaderLease struct {
	API
	// Component is kube-controller-manager or kube-scheduler.
	Component string
	// Node is this host's name. A holder's identity is that name, "_" and a UUID of
	// the process (kubernetes: cmd/kube-controller-manager/app/controllermanager.go).
	Node string

	holder string
}

// Hold looks whether the component of this node leads, before it is stopped. It
// remembers the holder for Release, and says whether there will be anything to release.
func (l *LeaderLease) Hold(ctx context.Context) (leads bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	l.holder = ""
	_, spec, err := l.read(ctx)
	if err != nil {
		return false, err
	}
	if holder, _ := spec["holderIdentity"].(string); l.Node != "" && strings.HasPrefix(holder, l.Node+"_") {
		l.holder = holder
	}
	return l.holder != "", nil
}

// Release gives up the leadership of the process that Hold saw, once it is proven
// gone: a leader that is stopped does not do it itself, and its standby, or its own
// successor, waits until the lease has run out (15 s). It writes what client-go's
// ReleaseOnCancel writes. The lease of anybody else is left alone: it must still name
// the holder that Hold saw, and the API server refuses the write when the lease has
// changed since it was read. released says whether it was this that ended it.
func (l *LeaderLease) Release(ctx context.Context) (released bool, err error) {
	if l.holder == "" {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	lease, spec, err := l.read(ctx)
	if err != nil {
		return false, err
	}
	if spec["holderIdentity"] != l.holder {
		return false, nil // somebody else leads already
	}
	spec["holderIdentity"], spec["leaseDurationSeconds"] = "", 1
	body, err := json.Marshal(lease) // with the resourceVersion that was read
	if err != nil {
		return false, err
	}
	got, err := l.ask(ctx, request{method: http.MethodPut, path: l.path(), content: "application/json", body: body})
	if err == nil && got.code != http.StatusOK && got.code != http.StatusConflict {
		err = got.err()
	}
	if err != nil {
		return false, fmt.Errorf("lease of %s: %w", l.Component, err)
	}
	return got.code == http.StatusOK, nil
}

func (l *LeaderLease) path() string {
	return "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/" + l.Component
}

// read reads the lease as it is, with whatever newer versions have put into it.
func (l *LeaderLease) read(ctx context.Context) (lease, spec map[string]any, err error) {
	if err := l.get(ctx, l.path(), nil, &lease); err != nil {
		return nil, nil, fmt.Errorf("lease of %s: %w", l.Component, err)
	}
	spec, ok := lease["spec"].(map[string]any)
	if !ok {
		return nil, nil, fmt.Errorf("lease of %s: it has no spec", l.Component)
	}
	return lease, spec, nil
}
