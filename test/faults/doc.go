// Package faults cuts runs of kubecertd off, on a real control plane, everywhere: the
// daemon and kubeadm are killed, the power goes with all that was not synced, disks are
// full or read-only, clocks jump, containers do not come back. Each row of its table
// says what is done, and what must hold afterwards.
package faults
