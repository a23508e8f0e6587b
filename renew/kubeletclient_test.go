package renew_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

const (
	kubeletConf = "/etc/kubernetes/kubelet.conf"
	rotating    = "/var/lib/kubelet/pki/kubelet-client-current.pem"
)

// newCalmNode is a node on which nothing is due, with a kubeadm that makes a client
// certificate for its kubelet.
func newCalmNode(t *testing.T) *fakeNode {
	t.Helper()
	n := newFakeNode(t)
	now := time.Now()
	for _, name := range renewable {
		n.files.Issue(name, now.Add(-355*pkitest.Day), now.Add(265*pkitest.Day))
	}
	n.files.Touch(now.Add(-355 * pkitest.Day))
	for name, pod := range n.pods {
		pod.Pod = name + "-cp1"
		n.pods[name] = pod
	}
	if err := os.WriteFile(n.dir+"/kubeconfig", []byte(n.files.Embedded("cp1", now.Add(-355*pkitest.Day), now.Add(365*pkitest.Day))), 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

// expireKubelet lets the kubelet's client certificate run out, so that it crashes at each
// start.
func (n *fakeNode) expireKubelet() {
	now := time.Now()
	n.files.Issue("kubelet-client", now.Add(-366*pkitest.Day), now.Add(-pkitest.Day))
	n.unit.Running, n.unit.Detail = false, "kubelet.service is activating (auto-restart)"
}

// embed puts a certificate into kubelet.conf.
func (n *fakeNode) embed(node string, from, to time.Duration) string {
	text := n.files.Embedded(node, time.Now().Add(from), time.Now().Add(to))
	text = "# by hand\n" + strings.Replace(text, "https://api:6443", "https://192.0.2.11:6443", 1)
	n.files.Write(kubeletConf, text)
	return text
}

func TestFindKubeletFault(t *testing.T) {
	const day = pkitest.Day
	for name, tt := range map[string]struct {
		change func(*fakeNode)
		state  pki.State
		cure   renew.Cure
		reason string
		remedy string
	}{
		"nothing": {func(*fakeNode) {}, pki.OK, "", "", ""},
		"it has run out": {func(n *fakeNode) { n.expireKubelet() },
			pki.Expired, renew.CureMake, "expired 1d0h ago", ""},
		"its file is gone": {func(n *fakeNode) { n.files.Remove(n.files.Path(rotating)) },
			pki.Invalid, renew.CureMake, kubeletConf + " names " + rotating + ", which cannot be read", ""},
		"it is of another CA": {func(n *fakeNode) {
			other := pkitest.New(n.t, time.Now().Add(-day))
			dated, err := filepath.Glob(other.Path("/var/lib/kubelet/pki/kubelet-client-2*"))
			if err != nil || len(dated) != 1 {
				n.t.Fatal(dated, err)
			}
			n.files.Write(strings.TrimPrefix(resolve(n, rotating), n.files.Root), file(n.t, dated[0]))
		}, pki.Invalid, renew.CureMake, "it is not signed by its CA ca", ""},
		"it is another node's": {func(n *fakeNode) {
			n.files.IssueWith("kubelet-client", func(c *x509.Certificate) {
				c.Subject.CommonName, c.NotBefore, c.NotAfter = "system:node:cp2", time.Now().Add(-day), time.Now().Add(300*day)
			})
		}, pki.Invalid, renew.CureMake, "it is the certificate of node cp2, and this is node cp1", ""},
		"it is no node's": {func(n *fakeNode) {
			n.files.IssueWith("kubelet-client", func(c *x509.Certificate) {
				c.Subject, c.NotBefore, c.NotAfter = pkix.Name{CommonName: "kubernetes-admin"}, time.Now().Add(-day), time.Now().Add(300*day)
			})
		}, pki.Invalid, renew.CureMake, "it is a certificate of CN=kubernetes-admin and not of a node", ""},
		"another name that nobody can judge": {func(n *fakeNode) {
			n.pods = map[string]renew.Component{}
			n.files.Write("/etc/hostname", "elsewhere\n")
		}, pki.OK, "", "", ""},
		"the name that the kubelet was told": {func(n *fakeNode) {
			n.files.Write("/var/lib/kubelet/kubeadm-flags.env", `KUBELET_KUBEADM_ARGS="--hostname-override=Other --v=2"`+"\n")
		}, pki.Invalid, renew.CureMake, "it is the certificate of node cp1, and this is node other", ""},
		"it is not valid yet": {func(n *fakeNode) {
			n.files.Issue("kubelet-client", time.Now().Add(day), time.Now().Add(300*day))
		}, pki.Invalid, "", "not valid before", ""},
		"kubelet.conf is gone": {func(n *fakeNode) { n.files.Remove(n.files.Path(kubeletConf)) },
			pki.Invalid, renew.CurePoint, kubeletConf + " cannot be used: there is no such file", ""},
		"kubelet.conf is empty": {func(n *fakeNode) { n.files.Write(kubeletConf, "") },
			pki.Invalid, renew.CurePoint, kubeletConf + " cannot be used: it names no user", ""},
		"kubelet.conf trusts another CA": {func(n *fakeNode) {
			n.files.Write(kubeletConf, file(n.t, pkitest.New(n.t, time.Now()).Path(kubeletConf)))
		}, pki.Invalid, renew.CurePoint, kubeletConf + " cannot be used: it trusts another CA than this cluster's", ""},
		"both are gone": {func(n *fakeNode) {
			n.files.Remove(n.files.Path(kubeletConf))
			n.files.Remove(n.files.Path(rotating))
		}, pki.Invalid, renew.CureMake, kubeletConf + " cannot be used: there is no such file", ""},
		"embedded and valid": {func(n *fakeNode) { n.embed("cp1", -day, 200*day) },
			pki.Due, renew.CurePoint, "it is embedded in " + kubeletConf, ""},
		"embedded and valid, and nothing rotates": {func(n *fakeNode) {
			n.embed("cp1", -day, 200*day)
			n.files.Remove(n.files.Path(rotating))
		}, pki.Due, renew.CureMove, "it is embedded in " + kubeletConf, ""},
		"embedded and expired": {func(n *fakeNode) { n.embed("cp1", -day, -time.Hour) },
			pki.Expired, renew.CurePoint, "expired 1h0m ago", ""},
		"embedded and expired, and nothing rotates": {func(n *fakeNode) {
			n.embed("cp1", -day, -time.Hour)
			n.expireKubelet()
		}, pki.Expired, renew.CureMake, "expired 1h0m ago", ""},
		"the kubelet does not rotate": {func(n *fakeNode) {
			n.files.Issue("kubelet-client", time.Now().Add(-335*day), time.Now().Add(30*day))
			n.files.Touch(time.Now().Add(-335 * day))
		}, pki.Due, renew.CureMake, "the kubelet's rotation has stopped", ""},
		"the kubelet has just started and may rotate yet": {func(n *fakeNode) {
			n.files.Issue("kubelet-client", time.Now().Add(-335*day), time.Now().Add(30*day))
			n.files.Touch(time.Now().Add(-335 * day))
			n.unit.Started = time.Now().Add(-23 * time.Hour)
		}, pki.OK, "", "", ""},
		"it may rotate until nine tenths of the life": {func(n *fakeNode) {
			n.files.Issue("kubelet-client", time.Now().Add(-328*day), time.Now().Add(37*day))
			n.files.Touch(time.Now().Add(-328 * day))
		}, pki.OK, "", "", ""},
		"the kubelet is still bootstrapping": {func(n *fakeNode) {
			n.files.Remove(n.files.Path(rotating))
			n.files.Write("/etc/kubernetes/bootstrap-kubelet.conf", "apiVersion: v1\n")
		}, pki.Invalid, "", kubeletConf + " names", "the kubelet may still be asking for its first certificate with /etc/kubernetes/bootstrap-kubelet.conf"},
		"the CA's key is elsewhere": {func(n *fakeNode) {
			n.expireKubelet()
			n.files.Remove(n.files.Key("ca"))
		}, pki.Expired, "", "expired 1d0h ago", "kubeadm kubeconfig user --config cluster.yaml --org system:nodes --client-name system:node:cp1 >kubelet.conf"},
		"the CA's key is elsewhere, and all that is needed is here": {func(n *fakeNode) {
			n.embed("cp1", -day, 200*day)
			n.files.Remove(n.files.Key("ca"))
		}, pki.Due, renew.CurePoint, "it is embedded", ""},
		"the CA is being replaced": {func(n *fakeNode) { n.files.CA("ca", time.Now().Add(-day), time.Now().Add(3650*day)) },
			pki.Invalid, "", kubeletConf + " cannot be used: it trusts another CA", "the API server's certificate is not of the CA in /etc/kubernetes/pki/ca.crt either"},
		"the kubelet is not to be restarted": {func(n *fakeNode) {
			n.embed("cp1", -day, 200*day)
			n.Policy.Restart.Of = map[string]renew.RestartPolicy{renew.Kubelet: renew.RestartNever}
		}, pki.Due, "", "it is embedded", "the kubelet is not to be restarted"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newCalmNode(t)
			tt.change(n)
			f := renew.FindKubeletFault(n.Observe(t.Context(), time.Now()), n.Policy)
			if f.State != tt.state || f.Cure != tt.cure || !strings.HasPrefix(f.Reason, tt.reason) || (f.Reason == "") != (tt.reason == "") ||
				!strings.Contains(f.Remedy, tt.remedy) || (f.Remedy == "") != (tt.remedy == "") {
				t.Errorf("found %+v", f)
			}
			if f.Reason != "" && f.Node == "" {
				t.Error("the node has no name")
			}
		})
	}
}

// Whatever is due besides, a kubelet that cannot start comes first, with nothing else and
// through no gate that only matters for what is stopped.
func TestPlanMendsFirst(t *testing.T) {
	n := newCalmNode(t)
	n.expireKubelet()
	n.files.Issue("scheduler.conf", time.Now().Add(-366*pkitest.Day), time.Now().Add(-pkitest.Day))
	pod := n.pods[renew.Scheduler]
	pod.Running = false
	n.pods[renew.Scheduler] = pod
	n.sick[renew.APIServer] = true
	p := n.Look(t.Context(), renew.Wish{}).Plan
	if diff := cmp.Diff([]string{"kubelet-client"}, renewNames(p)); diff != "" || len(p.Blocked) > 0 || !p.Mends() {
		t.Errorf("plan %+v, blocked by %+v", p.Renew, p.Blocked)
	}
	if len(p.Restart) != 1 || p.Restart[0].Component != renew.Kubelet {
		t.Errorf("restarts %+v", p.Restart)
	}
	if said := p.Notices.String(); !strings.Contains(said, "then follow: scheduler.conf") {
		t.Errorf("notices:\n%s", said)
	}
	// One that a person has stopped is theirs.
	n.unit.Stopped = true
	if p := n.Look(t.Context(), renew.Wish{}).Plan; len(p.Blocked) != 1 || p.Blocked[0].Name != "kubelet" {
		t.Errorf("of a stopped kubelet blocked by %+v", p.Blocked)
	}
}

func renewNames(p renew.Plan) []string {
	var names []string
	for _, r := range p.Renew {
		names = append(names, r.Certificate)
	}
	return names
}

// resolve is where a file of the node really lies.
func resolve(n *fakeNode, file string) string {
	layout, _ := n.Locate()
	return layout.Resolve(file)
}
