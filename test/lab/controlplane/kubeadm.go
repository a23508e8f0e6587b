//go:build linux

package controlplane

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/machine"
	"github.com/kubecertd/kubecertd/test/lab/parts"
	"github.com/kubecertd/kubecertd/test/lab/progress"
)

const (
	// initConfig and joinConfig stay on the node, as an operator would keep
	// them.
	initConfig = "/root/kubeadm-init.yaml"
	joinConfig = "/root/kubeadm-join.yaml"

	kubeadmTimeout = 4 * time.Minute
)

// commonValues are those that all nodes of a cluster share.
func commonValues(o Options, set *parts.Set) (values, error) {
	only2, err := machine.CgroupV2()
	if err != nil {
		return values{}, err
	}
	v := values{
		Kubernetes: set.Kubernetes, Pause: set.Pause, Validity: validity(o.Validity),
		CertificatesDir: o.CertificatesDir, Algorithm: o.Algorithm,
		CgroupDriver: "cgroupfs", SystemdCgroup: only2,
		Token: randomHex(3) + "." + randomHex(8), CertificateKey: randomHex(32),
	}
	if only2 {
		v.CgroupDriver = "systemd"
	}
	return v, nil
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return hex.EncodeToString(b)
}

// form makes a control plane of the booted nodes. They join one after the
// other: etcd takes one new member at a time.
func (c *Cluster) form(ctx context.Context, v values, out *progress.Printer) error {
	for i, n := range c.Nodes {
		v.Name, v.Address = n.Name(), n.Address()
		work, title, expected := n.initialize, "kubeadm init on "+n.Name(), 10*time.Second
		if i > 0 {
			work, title, expected = n.join, "kubeadm join on "+n.Name(), 20*time.Second
			hash, err := c.Nodes[0].caHash()
			if err != nil {
				return err
			}
			v.CAHash = hash
		}
		if err := out.Do(title, expected, func() error { return work(ctx, v) }); err != nil {
			return err
		}
	}
	return out.Do("wait until every component is healthy", 5*time.Second, func() error { return c.WaitHealthy(ctx) })
}

func (n *Node) initialize(ctx context.Context, v values) error {
	// Static pods live in the node's own network: without DNS and kube-proxy
	// the control plane lacks nothing.
	return n.kubeadm(ctx, v, "kubeadm.yaml", initConfig, "init", "--upload-certs",
		"--skip-phases=addon/coredns,addon/kube-proxy")
}

func (n *Node) join(ctx context.Context, v values) error {
	return n.kubeadm(ctx, v, "join.yaml", joinConfig, "join")
}

func (n *Node) kubeadm(ctx context.Context, v values, file, path, verb string, flags ...string) error {
	ctx, cancel := context.WithTimeout(ctx, kubeadmTimeout)
	defer cancel()
	text, err := render(file, v)
	if err != nil {
		return err
	}
	if err := n.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	argv := append([]string{"kubeadm", verb, "--config", path, "--ignore-preflight-errors=all"}, flags...)
	result, err := n.Run(ctx, argv...)
	log := fmt.Sprintf("/root/kubeadm-%s.log", verb)
	if writeErr := n.WriteFile(log, []byte(result.Stdout+result.Stderr), 0o600); writeErr != nil {
		return writeErr
	}
	if err != nil {
		return fmt.Errorf("%w (its output is in %s of %s, the kubelet's in journalctl -u kubelet)", err, log, n.Name())
	}
	return nil
}

// caHash is the digest by which a joining node knows the cluster's CA.
func (n *Node) caHash() (string, error) {
	data, err := n.ReadFile("/etc/kubernetes/pki/ca.crt")
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return "", fmt.Errorf("the CA of %s is no PEM file", n.Name())
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("read the CA of %s: %w", n.Name(), err)
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(ca.RawSubjectPublicKeyInfo)), nil
}
