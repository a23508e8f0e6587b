package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Neighbours are the control-plane nodes of the cluster, and what takes nodes down.
type Neighbours struct {
	Nodes []Neighbour
	// Kured are the nodes that hold kured's lock.
	Kured []KuredHold
	// KuredNonsense is why its lock cannot be read.
	KuredNonsense string
}

// Neighbour is a control-plane node as the API server knows it.
type Neighbour struct {
	Name string
	// Cordoned says that no new pods are put on it (spec.unschedulable); since when is
	// only known if somebody has set its taint.
	Cordoned bool
	Since    time.Time
	// Rebooting is what kured says of a node that it is about to reboot.
	Rebooting string
	// Versions are the tags of the images of its static pods, by component.
	Versions map[string]string
}

// KuredHold is a node's hold on kured's lock.
type KuredHold struct {
	Node    string    `json:"nodeID"`
	Created time.Time `json:"created"`
	// TTL is after what time the lock is nobody's; 0 for never.
	TTL time.Duration `json:"TTL"`
}

const (
	controlPlaneLabel = "node-role.kubernetes.io/control-plane"
	cordonTaint       = "node.kubernetes.io/unschedulable"
	// What kured writes (kured: cmd/kured/main.go, daemonsetlock/daemonsetlock.go). The
	// one on nodes only with --annotate-nodes.
	kuredLock   = "weave.works/kured-node-lock"
	kuredReboot = "weave.works/kured-reboot-in-progress"
	// markAnnotation is ours.
	markAnnotation = "kubecertd.io/turn"
)

// Neighbours asks for them, in three requests at once. kured is the DaemonSet with its
// lock, as NAMESPACE/NAME; empty if there is none. With an error comes what could be
// seen.
func (a API) Neighbours(ctx context.Context, kured string) (Neighbours, error) {
	var n Neighbours
	var versions map[string]map[string]string
	var failed [3]error
	var wg sync.WaitGroup
	wg.Go(func() { n.Nodes, failed[0] = a.controlPlane(ctx) })
	wg.Go(func() { versions, failed[1] = a.versions(ctx) })
	if kured != "" {
		wg.Go(func() { n.Kured, n.KuredNonsense, failed[2] = a.kured(ctx, kured) })
	}
	wg.Wait()
	for i := range n.Nodes {
		n.Nodes[i].Versions = versions[n.Nodes[i].Name]
	}
	return n, errors.Join(failed[:]...)
}

// controlPlane lists the nodes that kubeadm has labelled.
func (a API) controlPlane(ctx context.Context) ([]Neighbour, error) {
	var list struct {
		Items []struct {
			Metadata struct {
				Name        string            `json:"name"`
				Annotations map[string]string `json:"annotations"`
			} `json:"metadata"`
			Spec struct {
				Unschedulable bool `json:"unschedulable"`
				Taints        []struct {
					Key       string    `json:"key"`
					TimeAdded time.Time `json:"timeAdded"`
				} `json:"taints"`
			} `json:"spec"`
		} `json:"items"`
	}
	if err := a.get(ctx, "/api/v1/nodes", url.Values{"labelSelector": {controlPlaneLabel}}, &list); err != nil {
		return nil, fmt.Errorf("control-plane nodes: %w", err)
	}
	var nodes []Neighbour
	for _, item := range list.Items {
		n := Neighbour{Name: item.Metadata.Name, Cordoned: item.Spec.Unschedulable, Rebooting: item.Metadata.Annotations[kuredReboot]}
		for _, taint := range item.Spec.Taints {
			if taint.Key == cordonTaint {
				n.Since = taint.TimeAdded
			}
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// versions are the tags of the images of kubeadm's static pods, by node and component. It
// is their mirrors in the API that are asked for (kubeadm: util/staticpod/utils.go).
func (a API) versions(ctx context.Context) (map[string]map[string]string, error) {
	var list struct {
		Items []struct {
			Metadata struct {
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
			Spec struct {
				NodeName   string `json:"nodeName"`
				Containers []struct {
					Image string `json:"image"`
				} `json:"containers"`
			} `json:"spec"`
		} `json:"items"`
	}
	if err := a.get(ctx, "/api/v1/namespaces/kube-system/pods", url.Values{"labelSelector": {"tier=control-plane"}}, &list); err != nil {
		return nil, fmt.Errorf("static pods of the control plane: %w", err)
	}
	versions := map[string]map[string]string{}
	for _, item := range list.Items {
		component := item.Metadata.Labels["component"]
		if component == "" || len(item.Spec.Containers) == 0 {
			continue
		}
		if versions[item.Spec.NodeName] == nil {
			versions[item.Spec.NodeName] = map[string]string{}
		}
		versions[item.Spec.NodeName][component] = tag(item.Spec.Containers[0].Image)
	}
	return versions, nil
}

// tag is what comes after the name of an image: its tag, or its digest if it has none.
func tag(image string) string {
	name := image[strings.LastIndex(image, "/")+1:]
	name, digest, _ := strings.Cut(name, "@")
	if _, t, ok := strings.Cut(name, ":"); ok {
		return t
	}
	return digest
}

// kured reads kured's lock: of one node, or of several with --concurrency. A cluster
// without kured has none.
func (a API) kured(ctx context.Context, daemonSet string) (holds []KuredHold, nonsense string, err error) {
	namespace, name, _ := strings.Cut(daemonSet, "/")
	got, err := a.ask(ctx, request{method: http.MethodGet,
		path: "/apis/apps/v1/namespaces/" + url.PathEscape(namespace) + "/daemonsets/" + url.PathEscape(name)})
	switch {
	case err == nil && got.code == http.StatusNotFound:
		return nil, "", nil
	case err == nil && got.code != http.StatusOK:
		err = got.err()
	}
	if err != nil {
		return nil, "", fmt.Errorf("DaemonSet %s: %w", daemonSet, err)
	}
	var set struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(got.body, &set); err != nil {
		return nil, "", fmt.Errorf("DaemonSet %s: %w", daemonSet, err)
	}
	text, held := set.Metadata.Annotations[kuredLock]
	if !held {
		return nil, "", nil
	}
	var lock struct {
		KuredHold
		Locks *[]KuredHold `json:"locks"`
	}
	if err := json.Unmarshal([]byte(text), &lock); err != nil {
		return nil, fmt.Sprintf("annotation %s of DaemonSet %s cannot be read: %s", kuredLock, daemonSet, err), nil
	}
	if lock.Locks != nil {
		return *lock.Locks, "", nil
	}
	if lock.Node == "" {
		return nil, fmt.Sprintf("annotation %s of DaemonSet %s names no node", kuredLock, daemonSet), nil
	}
	return []KuredHold{lock.KuredHold}, "", nil
}

// Mark says on a node, for everybody to see, that we are at work on it: an annotation.
// An empty text takes it away.
func (a API) Mark(ctx context.Context, node, text string) error {
	var value any // null removes it (RFC 7386)
	if text != "" {
		value = text
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{markAnnotation: value}}})
	if err != nil {
		return err
	}
	got, err := a.ask(ctx, request{method: http.MethodPatch, path: "/api/v1/nodes/" + url.PathEscape(node),
		content: "application/merge-patch+json", body: body})
	if err == nil && got.code != http.StatusOK {
		err = got.err()
	}
	if err != nil {
		return fmt.Errorf("annotation %s of node %s: %w", markAnnotation, node, err)
	}
	return nil
}
