// Package renew keeps one promise: no component of this node stops working
// because a leaf certificate ran out, and the cure never costs more than the
// illness.
//
// It is one flow, in one direction: observe what is (Observe), decide what to do
// about it (Decide, pure), act (Node.Act), prove that it took effect (Prove,
// pure), report. The daemon's Loop is nothing but that flow repeated. It is
// level-triggered: no memory of what it meant to do is kept, so a crash, a
// reboot, or somebody else's `kubeadm certs renew` need no code of their own.
//
// Of the project's packages it knows only pki. What it needs of container
// runtimes, systemd and the cluster it declares as small interfaces.
package renew
