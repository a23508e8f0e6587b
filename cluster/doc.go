// Package cluster asks the cluster itself, through the Kubernetes API and etcd,
// for what a single node cannot know: kubeadm's stored configuration, and who
// else is a member.
//
// Nothing that keeps certificates alive depends on an answer: every call has a
// deadline, and an error is an answer.
package cluster
