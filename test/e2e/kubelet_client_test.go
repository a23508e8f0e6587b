//go:build linux

package e2e_test

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

const (
	kubeletConf = "/etc/kubernetes/kubelet.conf"
	kubeletPEM  = "/var/lib/kubelet/pki/kubelet-client-current.pem"
)

// expireKubelet lets the kubelet's client certificate have run out, and the kubelet crash
// at each start because of it.
func expireKubelet(t *testing.T, n *node) {
	t.Helper()
	n.Expire(t, "kubelet-client")
	crashKubelet(t, n)
}

// crashKubelet restarts a kubelet that cannot start.
func crashKubelet(t *testing.T, n *node) {
	t.Helper()
	n.MustRun(t, "systemctl", "restart", "kubelet")
	story.Eventually(t, time.Minute, func() error {
		if u := n.Unit(t, "kubelet"); u["ActiveState"] == "active" || u["NRestarts"] == "0" {
			return fmt.Errorf("the kubelet is %s (%s), started again %s times", u["ActiveState"], u["SubState"], u["NRestarts"])
		}
		return nil
	})
}

// embedKubelet puts a certificate for this time into kubelet.conf, as old kubeadm did, and
// leaves the one that the kubelet rotates as it is.
func embedKubelet(t *testing.T, n *node, notBefore, notAfter time.Time) {
	t.Helper()
	rotating := n.Read(t, kubeletPEM)
	if err := n.MintCertificates(notBefore, notAfter, "kubelet-client"); err != nil {
		t.Fatal(err)
	}
	minted := []byte(n.Read(t, kubeletPEM))
	if err := n.Overwrite(kubeletPEM, []byte(rotating)); err != nil {
		t.Fatal(err)
	}
	certificate, rest := pem.Decode(minted)
	key, _ := pem.Decode(rest)
	data := func(b *pem.Block) string { return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(b)) }
	conf := n.Read(t, kubeletConf)
	embedded := strings.NewReplacer("client-certificate: "+kubeletPEM, "client-certificate-data: "+data(certificate),
		"client-key: "+kubeletPEM, "client-key-data: "+data(key)).Replace(conf)
	if embedded == conf {
		t.Fatalf("kubelet.conf does not name %s", kubeletPEM)
	}
	if err := n.Overwrite(kubeletConf, []byte(embedded)); err != nil {
		t.Fatal(err)
	}
	n.MustRun(t, "rm", "-f", story.StateDir+"/ledger.json")
}

// heartbeat is when the kubelet has last told the API server that it is there.
func heartbeat(n *node) (time.Time, error) {
	result, err := n.Try("kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "--namespace=kube-node-lease", "get", "lease", n.Name(), "--output=jsonpath={.spec.renewTime}")
	if err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339, strings.TrimSpace(result.Stdout))
}

// mended waits until the kubelet works again, says how long that took from the start of
// the daemon, and demands that it goes on, that nothing else was renewed, and that a
// second start changes nothing.
func mended(t *testing.T, n *node, server string, renewed ...string) {
	t.Helper()
	was := story.Serials(n.Leaves(t, slices.Sorted(maps.Keys(story.CertificateFiles))...))
	began := time.Now()
	n.MustRun(t, "systemctl", "start", "kubecertd")
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	var heard time.Time
	story.Eventually(t, 2*time.Minute, func() (err error) {
		heard, err = heartbeat(n)
		if err == nil && heard.Before(began) {
			err = fmt.Errorf("the API server has last heard of the kubelet at %s", heard)
		}
		return err
	})
	t.Logf("healthy, and the kubelet heard of, %s after the start of the daemon", time.Since(began).Round(100*time.Millisecond))
	story.Eventually(t, time.Minute, n.Settled)
	if failed := story.Said(n.Events(t, renew.EventRunFailed)); failed != "" {
		t.Errorf("a run failed: %s", failed)
	}
	story.Eventually(t, time.Minute, func() error {
		if next, err := heartbeat(n); err != nil || !next.After(heard) {
			return fmt.Errorf("the API server has not heard of the kubelet since %s: %w", heard, err)
		}
		return nil
	})
	n.KubeletRestarted(t, story.State{}, true)
	if conf := n.Read(t, kubeletConf); !strings.Contains(conf, "client-certificate: "+kubeletPEM) || strings.Contains(conf, "-key-data") || !strings.Contains(conf, server) {
		t.Errorf("kubelet.conf does not name %s and %s", kubeletPEM, server)
	}
	now := story.Serials(n.Leaves(t, slices.Sorted(maps.Keys(was))...))
	for name := range was {
		if changed := was[name] != now[name]; changed != slices.Contains(renewed, name) {
			t.Errorf("%s: renewed = %t", name, changed)
		}
	}
	before, runs := n.Observe(t), len(n.History(t))
	n.MustRun(t, "systemctl", "restart", "kubecertd")
	n.Untouched(t, before)
	if again := len(n.History(t)); again != runs {
		t.Errorf("a second start made %d further runs", again-runs)
	}
}

// server is the API server that kubelet.conf names.
func server(t *testing.T, n *node) string {
	t.Helper()
	for line := range strings.Lines(n.Read(t, kubeletConf)) {
		if strings.Contains(line, "server:") {
			return strings.TrimSpace(line)
		}
	}
	t.Fatal("kubelet.conf names no server")
	return ""
}

// The kubelet's client certificate has run out, and the kubelet crashes at each start
// while the API server still runs. It is given another, and rotates it when its time
// comes.
func TestKubeletLockedOut(t *testing.T) {
	n := onNode(t)
	n.Configure(t, story.Soon)
	at := server(t, n)
	expireKubelet(t, n)
	pods, _ := n.Containers(t)
	old := n.Leaf(t, "kubelet-client")
	mended(t, n, at)
	now, _ := n.Containers(t)
	if diff := cmp.Diff(pods, now); diff != "" {
		t.Errorf("static pods (-before +after):\n%s", diff)
	}
	given := n.Leaf(t, "kubelet-client")
	if given.Equal(old) || given.Subject.String() != old.Subject.String() {
		t.Errorf("the kubelet has %s until %s", given.Subject, given.NotAfter)
	}
	if said := story.Said(n.Events(t, renew.EventHeartbeat)); !strings.Contains(said, "the API server hears of the kubelet") {
		t.Errorf("of heartbeats was said: %q", said)
	}

	// It rotates again: its time has come when it starts the next time.
	n.MustRun(t, "systemctl", "stop", "kubecertd")
	if err := n.MintCertificates(time.Now().Add(-20*time.Hour), time.Now().Add(time.Hour), "kubelet-client"); err != nil {
		t.Fatal(err)
	}
	minted := n.Leaf(t, "kubelet-client")
	n.MustRun(t, "systemctl", "restart", "kubelet")
	story.Eventually(t, 2*time.Minute, func() error {
		if c := n.Leaf(t, "kubelet-client"); c.Equal(minted) || !c.NotAfter.After(minted.NotAfter) {
			return fmt.Errorf("the kubelet has not rotated: %s until %s", c.Subject, c.NotAfter)
		}
		return nil
	})
	story.Eventually(t, time.Minute, n.Settled)
}

// Everything has run out, the kubelet's certificate too, and the node was restarted:
// nothing runs, and nobody could be asked for anything.
func TestEverythingExpiredAndKubeletLockedOut(t *testing.T) {
	n := onNode(t)
	at := server(t, n)
	names := slices.Sorted(maps.Keys(story.CertificateFiles))
	n.Expire(t, append(names, "kubelet-client")...)
	if err := n.PowerCut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	story.Eventually(t, time.Minute, func() error {
		if u := n.Unit(t, "kubelet"); u["ActiveState"] == "active" || u["NRestarts"] == "0" {
			return fmt.Errorf("the kubelet is %s (%s)", u["ActiveState"], u["SubState"])
		}
		return nil
	})
	if err := n.Healthy(t.Context()); err == nil {
		t.Fatal("it works with expired certificates")
	}
	mended(t, n, at, names...)
}

// A certificate in kubelet.conf itself has run out, although the kubelet has rotated its
// own all the time: it does not start any more. Nothing has to be made.
func TestKubeletEmbeddedExpired(t *testing.T) {
	n := onNode(t)
	n.Configure(t, story.Soon)
	at := server(t, n)
	ended := time.Now().Add(-time.Hour)
	embedKubelet(t, n, ended.Add(-365*24*time.Hour), ended)
	crashKubelet(t, n)
	rotating := n.Leaf(t, "kubelet-client")
	mended(t, n, at)
	if !n.Leaf(t, "kubelet-client").Equal(rotating) {
		t.Error("a certificate that was good was replaced")
	}
}

// The same while it is still valid: it is cured before it goes off, and nobody notices.
func TestKubeletEmbeddedValid(t *testing.T) {
	n := onNode(t)
	n.Configure(t, story.Soon)
	at := server(t, n)
	embedKubelet(t, n, time.Now().Add(-300*24*time.Hour), time.Now().Add(60*24*time.Hour))
	n.MustRun(t, "systemctl", "restart", "kubelet")
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, rotating := n.Observe(t), n.Leaf(t, "kubelet-client")
	poll := n.PollAPI(t.Context(), 10*time.Millisecond)
	mended(t, n, at)
	if away := poll.Stop(); away.Total() > 0 {
		t.Errorf("the API was away: %s", away)
	}
	n.RestartedOnce(t, before)
	n.KubeletRestarted(t, before, true)
	if !n.Leaf(t, "kubelet-client").Equal(rotating) {
		t.Error("a certificate that was good was replaced")
	}
	if s, err := n.Status(); err != nil {
		t.Error(err)
	} else {
		for _, c := range s.Certificates {
			if c.Name == "kubelet-client" && (c.State != pki.OK || c.Path != kubeletPEM) {
				t.Errorf("kubelet-client is %s (%s): %s", c.State, c.Path, c.Reason)
			}
		}
	}
}
