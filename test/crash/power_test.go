//go:build linux

package crash_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/lab/disk"
	"github.com/kubecertd/kubecertd/test/lab/parts"
	"github.com/kubecertd/kubecertd/test/lab/progress"
)

const day = 24 * time.Hour

// clusterConfiguration is the cluster's. The first certificates are of ten days, and
// all of this happens on the ninth.
const clusterConfiguration = `apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.36.3
controlPlaneEndpoint: api:6443
encryptionAlgorithm: ECDSA-P256
`

const initConfiguration = clusterConfiguration + `certificateValidityPeriod: 240h0m0s
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: 192.0.2.11, bindPort: 6443}
nodeRegistration: {name: cp1, criSocket: unix:///run/none.sock}
`

func ninthDay() time.Time { return time.Now().Add(8 * day) }

// wrapper runs kubeadm with the node's /etc/kubernetes where kubeadm looks for it: the
// directory cannot be set (kubeadm: constants/constants.go). All else of /etc is
// empty, and only for kubeadm.
const wrapper = `#!/bin/sh
exec unshare --mount --propagation private sh -c '
	mount -t tmpfs tmpfs /etc && mkdir /etc/kubernetes && mount --bind "$0" /etc/kubernetes && exec "$@"
' "${0%/*}/disk/root/etc/kubernetes" KUBEADM "$@"
`

// TestPowerCutWithKubeadm cuts the power after every operation on the disk while the
// real kubeadm renews everything, and starts again.
func TestPowerCutWithKubeadm(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the lab's kubeadm, which -short leaves out")
	}
	cache, err := parts.OpenCache("")
	must(t, err)
	set, err := cache.Build(t.Context(), "", progress.New(os.Stderr))
	must(t, err)
	base := workspace(t)
	program := filepath.Join(base, "kubeadm")
	must(t, os.WriteFile(program, []byte(strings.Replace(wrapper, "KUBEADM", set.Kubeadm, 1)), 0o700))
	dir := filepath.Join(base, "disk")
	must(t, os.Mkdir(dir, 0o755))
	d, err := disk.Mount(dir)
	if errors.Is(err, disk.ErrUnsupported) {
		t.Skip(err)
	}
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	initialize(t, program, dir)

	n := newNode(t, dir, ninthDay)
	must(t, n.Remember(t.Context()))
	before := n.renewable(ninthDay())
	old := map[string]string{}
	for name, c := range before {
		old[name] = n.pair(c)
	}
	d.Sync()
	_, _, err = n.Act(t.Context(), renew.Wish{}, "timer")
	must(t, err)

	losses, nextRun := []disk.Loss{disk.Strictest, disk.KeepAll, disk.ZeroLength, disk.Random(0)}, byte(64)
	if os.Getenv("KUBECERTD_SOAK") != "" {
		losses, nextRun = append(slices.Clone(disk.Fixed), disk.Random(0), disk.Random(1), disk.Random(2)), 8
	}
	work := make(chan disk.State)
	var workers sync.WaitGroup
	for worker := range 2 {
		workers.Go(func() {
			for s := range work {
				at := filepath.Join(base, fmt.Sprint(worker))
				if err := survives(t, s, at, program, old, s.Sum()[1]%nextRun == 0); err != nil {
					t.Errorf("%s: %v", s.Name(), err)
				}
				_ = os.RemoveAll(at)
			}
		})
	}
	began, seen := time.Now(), map[[32]byte]bool{}
	log := d.Log()
	for s := range log.States(0, losses...) {
		if sum := s.Sum(); !seen[sum] {
			seen[sum] = true
			work <- s
		}
	}
	close(work)
	workers.Wait()
	t.Logf("%d operations, %d different states, in %s", len(log.Ops), len(seen), time.Since(began).Round(time.Second))
}

// survives starts the daemon on what was left, and says what does not hold.
func survives(t *testing.T, s disk.State, at, program string, old map[string]string, run bool) error {
	dir := filepath.Join(at, "disk")
	if err := errors.Join(os.Mkdir(at, 0o700), os.Symlink(program, filepath.Join(at, "kubeadm")), s.Write(dir)); err != nil {
		return err
	}
	n := newNode(t, dir, ninthDay)
	if err := n.Recover(t.Context()); err != nil {
		return fmt.Errorf("Recover: %w", err)
	}
	found := n.renewable(ninthDay())
	for name, was := range old {
		c := found[name]
		if n.pair(c) != was && (c.State != pki.OK || c.NotAfter.Before(ninthDay().Add(300*day))) {
			return fmt.Errorf("after the start %s is neither as it was nor new: %s, %s", name, c.State, c.Reason)
		}
	}
	if !run {
		return nil
	}
	n.Now = func() time.Time { return ninthDay().Add(6 * time.Hour) }
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "start"); err != nil {
		return fmt.Errorf("the next run: %w", err)
	}
	for name, c := range n.renewable(n.Now()) {
		if _, here := old[name]; here && (c.State != pki.OK || c.NotAfter.Before(ninthDay().Add(300*day))) {
			return fmt.Errorf("after the next run %s is not new: %s, %s", name, c.State, c.Reason)
		}
	}
	if plan := n.Look(t.Context(), renew.Wish{}).Plan; plan.Work() || len(plan.Blocked) > 0 {
		return fmt.Errorf("after the next run there is still something to do: %+v", plan)
	}
	if name := n.twice(); name != "" {
		return fmt.Errorf("%s was stopped twice", name)
	}
	return nil
}

// initialize makes the files of a control-plane node, as `kubeadm init` does.
func initialize(t *testing.T, program, dir string) {
	t.Helper()
	config := filepath.Join(filepath.Dir(dir), "init.yaml")
	kubelet := filepath.Join(dir, "root/var/lib/kubelet")
	must(t, os.WriteFile(config, []byte(initConfiguration), 0o600),
		os.MkdirAll(filepath.Join(dir, "root/etc/kubernetes"), 0o755), os.MkdirAll(kubelet, 0o755), os.Mkdir(filepath.Join(dir, "state"), 0o700),
		os.WriteFile(filepath.Join(kubelet, "config.yaml"),
			[]byte("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nstaticPodPath: /etc/kubernetes/manifests\n"), 0o644))
	for _, phase := range []string{"certs all", "kubeconfig all", "control-plane all", "etcd local"} {
		args := append([]string{"init", "phase"}, strings.Fields(phase)...)
		if out, err := exec.Command(program, append(args, "--config", config)...).CombinedOutput(); err != nil {
			t.Fatalf("kubeadm init phase %s: %v: %s", phase, err, out)
		}
	}
	finalize(t, filepath.Join(dir, "root"))
}

// finalize has the kubelet's kubeconfig name the file that the kubelet rotates, as
// `kubeadm init` does in the end (kubeadm: cmd/phases/init/kubeletfinalize.go).
func finalize(t *testing.T, root string) {
	t.Helper()
	const pem = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	conf := filepath.Join(root, "etc/kubernetes/kubelet.conf")
	content, err := os.ReadFile(conf)
	must(t, err)
	var pair []byte
	for _, kind := range []string{"certificate", "key"} {
		embedded := regexp.MustCompile("client-" + kind + "-data: (.*)")
		found := embedded.FindSubmatch(content)
		if found == nil {
			t.Fatalf("%s has no client %s", conf, kind)
		}
		part, err := base64.StdEncoding.DecodeString(string(found[1]))
		must(t, err)
		pair = append(pair, part...)
		content = embedded.ReplaceAll(content, []byte("client-"+kind+": "+pem))
	}
	must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(pem)), 0o755), os.WriteFile(filepath.Join(root, pem), pair, 0o600),
		os.WriteFile(conf, content, 0o600))
}

// workspace is a directory in memory, if there is one.
func workspace(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "kubecertd-crash-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
