//go:build linux

package e2e_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
	"github.com/kubecertd/kubecertd/test/story"
)

// foreignPod is a static pod of somebody else's, as kube-vip is one: it mounts admin.conf
// and does nothing.
const foreignPod = `apiVersion: v1
kind: Pod
metadata: {name: vip, namespace: kube-system}
spec:
  hostNetwork: true
  priorityClassName: system-node-critical
  containers:
  - name: vip
    image: %s
    volumeMounts:
    - {name: admin, mountPath: /etc/kubernetes/admin.conf, readOnly: true}
  volumes:
  - name: admin
    hostPath: {path: /etc/kubernetes/admin.conf, type: File}
`

// A static pod that mounts admin.conf is a holder of it: shown, restarted once when it is
// renewed, and nothing else is, and stale when somebody else has renewed it.
func TestForeignPod(t *testing.T) {
	n := onNode(t)
	n.Configure(t, story.Soon+"restart: {policy: auto}\n")
	const manifest = "/etc/kubernetes/manifests/vip.yaml"
	t.Cleanup(func() {
		n.MustRun(t, "rm", "-f", manifest)
		story.Eventually(t, time.Minute, func() error {
			if newest, _ := n.Containers(t); newest["vip"].Running {
				return errors.New("the pod is still there")
			}
			return nil
		})
	})
	images := n.MustRun(t, "ctr", "--namespace=k8s.io", "images", "list", "--quiet")
	i := slices.IndexFunc(strings.Fields(images), func(name string) bool { return strings.Contains(name, "/pause:") })
	if i < 0 {
		t.Fatalf("no pause image among %s", images)
	}
	n.Write(t, manifest, fmt.Sprintf(foreignPod, strings.Fields(images)[i]), 0o600)
	story.Eventually(t, time.Minute, func() error { return holds(n, renew.Loaded, "after the file was written") })
	started, _ := n.Containers(t)
	before := n.Observe(t)

	n.Age(t, "admin.conf")
	if err := story.Contains(n.Exits(t, 2, "kubecertd", "plan"), "vip "); err != nil {
		t.Error(err)
	}
	n.Start(t)
	n.AwaitDone(t, 2*time.Minute)
	if !n.Renewed(t, "admin.conf") {
		t.Error("admin.conf was not renewed")
	}
	if err := holds(n, renew.Loaded, "after the file was written"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"vip"}, story.Values(n.Events(t, renew.EventRestarting), "COMPONENT")); diff != "" {
		t.Errorf("restarted (-want +got):\n%s", diff)
	}
	newest, _ := n.Containers(t)
	if was, is := started["vip"], newest["vip"]; is.Attempt != was.Attempt+1 || !is.Running {
		t.Errorf("the container was %+v and is %+v: want the one after it", was, is)
	}
	n.RestartedOnce(t, before)
	n.KubeletRestarted(t, before, false)
	if runs := n.History(t); len(runs) != 1 || !slices.Equal(runs[0].Restarted, []string{"vip"}) {
		t.Errorf("history: %+v", runs)
	}
	// The next look leaves it alone.
	n.MustRun(t, "systemctl", "reload", "kubecertd")
	n.AwaitEvent(t, 10*time.Second, renew.EventReloaded)
	story.Eventually(t, 10*time.Second, n.Settled)
	if again, _ := n.Containers(t); again["vip"] != newest["vip"] {
		t.Errorf("the container was %+v and is %+v", newest["vip"], again["vip"])
	}

	// Somebody else renews it while nobody looks.
	n.MustRun(t, "systemctl", "stop", "kubecertd")
	n.MustRun(t, "kubeadm", "certs", "renew", "admin.conf")
	if err := holds(n, renew.Stale, "mounts /etc/kubernetes/admin.conf; only a restart is known"); err != nil {
		t.Error(err)
	}
}

// holds says whether vip holds admin.conf with this verdict, and the evidence is shown.
func holds(n *node, want renew.Verdict, evidence string) error {
	s, err := n.Status()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.Certificates, func(c report.Certificate) bool { return c.Name == "admin.conf" })
	if i < 0 || len(s.Certificates[i].Holders) != 1 {
		return fmt.Errorf("the holders of admin.conf: %+v", s.Certificates)
	}
	p := s.Certificates[i].Holders[0]
	if p.Component != "vip" || p.Verdict != want || !strings.Contains(p.Evidence, evidence) {
		return fmt.Errorf("%+v, want %s: %s", p, want, evidence)
	}
	wide, err := n.Try("kubecertd", "status", "--output=wide")
	if err != nil {
		return err
	}
	return story.Contains(wide.Stdout, p.Evidence)
}
