//go:build linux

package e2e_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// kured is a DaemonSet of that name that runs nowhere: its lock is what matters.
const kured = `apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: kured
  namespace: kube-system
spec:
  selector: {matchLabels: {name: kured}}
  template:
    metadata: {labels: {name: kured}}
    spec:
      nodeSelector: {no-such: label}
      containers: [{name: kured, image: none}]
`

// With the rights that ship and no others a whole run succeeds: it waits for kured, which
// holds its lock for this node, marks the node, gives leaderships up and remembers the
// configuration.
func TestLeastRights(t *testing.T) {
	n := onNode(t)
	kubectl := func(args ...string) string {
		return n.MustRun(t, append([]string{"kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"}, args...)...)
	}
	const own, manifest = "/etc/kubernetes/kubecertd.conf", "/usr/share/kubecertd/rbac.yaml"
	remembered := story.StateDir + "/cluster-configuration.yaml"
	n.Start(t)
	story.Eventually(t, 30*time.Second, func() error { _, err := n.Try("test", "-s", remembered); return err })
	n.MustRun(t, "systemctl", "stop", "kubecertd")
	kubectl("apply", "-f", manifest)
	n.Write(t, "/opt/e2e/kured.yaml", kured, 0o644)
	kubectl("apply", "-f", "/opt/e2e/kured.yaml")
	t.Cleanup(func() {
		_, _ = n.Try("kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "delete", "-f", manifest, "-f", "/opt/e2e/kured.yaml")
		_, _ = n.Try("rm", "-f", own)
	})
	// As the manifest says.
	n.MustRun(t, "sh", "-c", "umask 077; kubeadm kubeconfig user --client-name kubecertd --config "+remembered+" >"+own)

	names := slices.Sorted(maps.Keys(story.CertificateFiles))
	n.Age(t, names...)
	kubectl("--namespace=kube-system", "annotate", "daemonset", "kured",
		fmt.Sprintf(`weave.works/kured-node-lock={"nodeID":%q,"metadata":{"unschedulable":false},"created":%q,"TTL":0}`, n.Name(), time.Now().UTC().Format(time.RFC3339Nano)))
	n.MustRun(t, "rm", "-f", remembered)
	n.Began = time.Now()
	n.Configure(t, story.Soon+"cluster: {kubeconfig: "+own+"}\nlog: {level: debug}\n")
	n.Start(t)
	n.AwaitSaid(t, 30*time.Second, renew.EventBlocked, n.Name()+" has held its lock since")
	kubectl("--namespace=kube-system", "annotate", "daemonset", "kured", "weave.works/kured-node-lock-")

	story.Eventually(t, time.Minute, func() error {
		result, err := n.Try("kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "get", "node", n.Name(), `--output=jsonpath={.metadata.annotations.kubecertd\.io/turn}`)
		if err != nil {
			return err
		}
		return story.Contains(result.Stdout, `"run":"2`)
	})
	n.AwaitDone(t, 2*time.Minute)
	story.Eventually(t, 20*time.Second, func() error {
		if mark := kubectl("get", "node", n.Name(), `--output=jsonpath={.metadata.annotations.kubecertd\.io/turn}`); mark != "" {
			return fmt.Errorf("the node is still marked: %s", mark)
		}
		return nil
	})
	story.Eventually(t, 20*time.Second, n.Settled)
	// One of the two may have left by itself while the API was away, and not lead again yet.
	if released := story.Values(n.Events(t, renew.EventLeaseReleased), "COMPONENT"); len(released) == 0 {
		t.Errorf("leaderships given up: %v", released)
	}
	if _, err := n.Try("test", "-s", remembered); err != nil {
		t.Errorf("the cluster's configuration was not remembered: %v", err)
	}
	if servers := n.Read(t, story.StateDir+"/api-servers.json"); !strings.Contains(servers, n.Address()+":6443") {
		t.Errorf("API servers %s", servers)
	}
	if said := story.Said(n.Events(t, "")); strings.Contains(strings.ToLower(said), "forbidden") || strings.Contains(said, "refused the credentials") {
		t.Errorf("something was refused:\n%s", said)
	}

	t.Run("without the rights", func(t *testing.T) {
		n.MustRun(t, "systemctl", "stop", "kubecertd")
		kubectl("delete", "-f", manifest)
		n.Age(t, "scheduler.conf")
		n.Began = time.Now()
		n.Start(t)
		n.AwaitDone(t, 2*time.Minute)
		if err := story.Contains(story.Said(n.Events(t, "")), "refused the credentials of "+own, "is not waited for", "whether the component leads is not known"); err != nil {
			t.Error(err)
		}
		story.Eventually(t, 20*time.Second, n.Settled)
	})
}
