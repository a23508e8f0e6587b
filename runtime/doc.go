// Package runtime finds, stops and awaits the containers of this node's static
// pods.
//
// The interface is CRI v1 (k8s.io/cri-api), so that any container runtime the
// kubelet can use will do. Where the runtime is containerd, its own client adds what
// CRI cannot give: events at the moment a container starts, and the id of its
// process, from which the true start is read. Nothing here depends on an event
// arriving: a poll runs beside it.
package runtime
