//go:build linux

package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// With restart.policy auto everything is renewed, only what cannot reload is restarted,
// and the API is never away. A stopped leader's lease is given up for it.
func TestAuto(t *testing.T) {
	n := onNode(t)
	n.Configure(t, story.Soon+"restart: {policy: auto}\n")
	names := slices.Sorted(maps.Keys(story.CertificateFiles))
	n.Age(t, names...)
	before := n.Observe(t)
	poll := n.PollRequests(t.Context(), 10*time.Millisecond)
	n.Start(t)
	n.AwaitDone(t, 2*time.Minute)
	available := poll.Stop()
	t.Logf("the API was %s", available)
	if total := available.Total(); total > 0 {
		t.Errorf("the API was away for %s", total)
	}
	for _, name := range names {
		if !n.Renewed(t, name) {
			t.Errorf("%s was not renewed", name)
		}
	}
	n.RestartedOnce(t, before, "kube-controller-manager", "kube-scheduler")
	n.KubeletRestarted(t, before, false)
	for port, name := range map[string]string{"6443": "apiserver", "2379": "etcd-server", "2380": "etcd-peer"} {
		if err := n.Serves(t, port, name); err != nil {
			t.Error(err)
		}
	}
	// What no port shows is tried, and what cannot be told is said.
	if err := story.Contains(n.MustRun(t, "kubecertd", "status", "--output=wide"),
		"with this one or the one before: the kubelet of "+n.Name()+" has answered the API server",
		"readyz/etcd of the API server is ok",
		"could not be told: no aggregated API is there"); err != nil {
		t.Error(err)
	}
	s, err := n.Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range s.Components {
		if c.Name != "kubelet" && c.Version == "" {
			t.Errorf("the version of %s is not known", c.Name)
		}
	}

	// Who leads is known again long before the lease would have run out.
	var stopped time.Time
	for _, e := range n.Events(t, renew.EventLeaseReleased) {
		if e["COMPONENT"] == "kube-controller-manager" {
			stopped = e.Time()
		}
	}
	if stopped.IsZero() {
		t.Fatal("the lease of kube-controller-manager was not released")
	}
	var acquired time.Time
	story.Eventually(t, 30*time.Second, func() error {
		var lease struct {
			Spec struct {
				HolderIdentity string    `json:"holderIdentity"`
				AcquireTime    time.Time `json:"acquireTime"`
			} `json:"spec"`
		}
		out := n.MustRun(t, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "--namespace=kube-system", "get", "lease", "kube-controller-manager", "--output=json")
		if err := json.Unmarshal([]byte(out), &lease); err != nil {
			return err
		}
		if acquired = lease.Spec.AcquireTime; lease.Spec.HolderIdentity == "" || acquired.Before(stopped) {
			return fmt.Errorf("held by %q since %s", lease.Spec.HolderIdentity, acquired)
		}
		return nil
	})
	t.Logf("kube-controller-manager led again %s after its lease was released", acquired.Sub(stopped).Round(10*time.Millisecond))
	if gap := acquired.Sub(stopped); gap > 10*time.Second {
		t.Errorf("nobody led for %s: without the release it is 15 s and more", gap)
	}
}
