// Package e2e tells the stories of kubecertd on real control planes: installed from
// its own package, under systemd, with the kubeadm, the kubelet and the containerd
// that users have. What is asserted is read from the node itself, by other means than
// kubecertd's own.
package e2e
