//go:build linux

package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// Root and a user have copied admin.conf, as kubeadm told them to, and one of them has
// added to it. After a renewal both can go on with what they have. Somebody else's
// kubeconfig is left alone, and a certificate that is only watched is alarmed.
func TestCopiesAndWatchedFiles(t *testing.T) {
	n := onNode(t)
	n.Age(t, "admin.conf", "etcd-healthcheck-client")
	t.Cleanup(func() { n.MustRun(t, "rm", "-rf", "/root/.kube", "/home/alice", "/home/bob") })
	n.MustRun(t, "sh", "-c", `set -e
mkdir -p /root/.kube /home/alice/.kube /home/bob/.kube /opt/e2e/watched
sed 's/^contexts:$/contexts:\n# the lab\n- {name: lab, context: {cluster: kubernetes, user: lab}}/' /etc/kubernetes/admin.conf >/root/.kube/config
printf -- '- name: lab\n  user: {token: abc} # nobody\n' >>/root/.kube/config
grep -q '^# the lab' /root/.kube/config
cp /etc/kubernetes/admin.conf /home/alice/.kube/config
cp /etc/kubernetes/scheduler.conf /home/bob/.kube/config
chmod 600 /home/*/.kube/config; chown -R 4711:4711 /home/alice; chown -R 4712:4712 /home/bob
cp /etc/kubernetes/pki/etcd/healthcheck-client.crt /opt/e2e/watched/site.pem`)
	foreign, watched, before := n.Read(t, "/home/bob/.kube/config"), n.Read(t, "/opt/e2e/watched/site.pem"), n.Observe(t)
	n.Configure(t, story.Soon+"renew: {copies: [/root/.kube/config, /home/*/.kube/config]}\nwatch: {files: [/opt/e2e/watched]}\n")
	n.Start(t)
	n.AwaitDone(t, 2*time.Minute)

	for _, config := range []string{"/root/.kube/config", "/home/alice/.kube/config"} {
		if data(t, n.Read(t, config)) != data(t, n.Read(t, "/etc/kubernetes/admin.conf")) {
			t.Errorf("%s does not hold what is in admin.conf", config)
		}
		n.MustRun(t, "kubeadm", "token", "list", "--kubeconfig", config)
	}
	if text := n.Read(t, "/root/.kube/config"); !strings.Contains(text, "# the lab\n- {name: lab") || !strings.Contains(text, "{token: abc} # nobody") {
		t.Errorf("what root had added is gone:\n%s", text)
	}
	if got := strings.TrimSpace(n.MustRun(t, "stat", "-c", "%u:%g %a", "/home/alice/.kube/config")); got != "4711:4711 600" {
		t.Errorf("alice's copy is %s", got)
	}
	if n.Read(t, "/home/bob/.kube/config") != foreign || n.Read(t, "/opt/e2e/watched/site.pem") != watched {
		t.Error("what is not ours was touched")
	}
	after := n.Observe(t)
	if diff := cmp.Diff(before.Containers, after.Containers); diff != "" || after.Kubelet != before.Kubelet {
		t.Errorf("something was restarted for what nothing holds:\n%s", diff)
	}
	if got := story.Values(n.Events(t, renew.EventCopied), "PATH"); len(got) != 2 {
		t.Errorf("the journal tells of copies at %v", got)
	}

	s, err := n.Status()
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]renew.CopyState{}
	for _, c := range s.Copies {
		states[c.Path] = c.State
	}
	if states["/root/.kube/config"] != renew.CopyCurrent || states["/home/alice/.kube/config"] != renew.CopyCurrent || states["/home/bob/.kube/config"] != renew.CopyForeign {
		t.Errorf("copies: %v", states)
	}
	var site pki.State
	for _, c := range s.Certificates {
		if c.Name == "/opt/e2e/watched/site.pem" {
			site = c.State
		}
	}
	if site != pki.Due {
		t.Errorf("the watched certificate is %q, want due", site)
	}
	n.AwaitSaid(t, 10*time.Second, renew.EventNotice, "/opt/e2e/watched/site.pem is due")
	if runs := n.History(t); len(runs) != 1 || len(runs[0].Renewed) != 2 {
		t.Errorf("history: %+v: want one run that renewed two", runs)
	}
	// What is watched is seen at once, and the daemon need not be told.
	n.MustRun(t, "cp", "/etc/kubernetes/pki/etcd/healthcheck-client.crt", "/opt/e2e/watched/other.pem")
	n.MustRun(t, "cp", "/etc/kubernetes/pki/sa.key", "/opt/e2e/watched/key.pem")
	n.MustRun(t, "sh", "-c", "echo -----BEGIN CERTIFICATE----- >/opt/e2e/watched/torn.pem")
	n.AwaitSaid(t, 10*time.Second, renew.EventNotice, "/opt/e2e/watched/torn.pem is invalid")
	if text := story.Said(n.Events(t, renew.EventNotice)); strings.Contains(text, "key.pem") || strings.Contains(text, "other.pem") {
		t.Errorf("alarms without a reason:\n%s", text)
	}
}

// data is the client certificate in a kubeconfig.
func data(t *testing.T, kubeconfig string) string {
	t.Helper()
	_, rest, found := strings.Cut(kubeconfig, "client-certificate-data: ")
	if !found {
		t.Fatal("no client certificate in it")
	}
	value, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(value)
}
