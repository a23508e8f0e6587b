package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
)

// What exists only in memory is read from the ports that show it.
func TestInMemory(t *testing.T) {
	n := pkitest.New(t, now)
	started := now.Add(-10 * day).Truncate(time.Second)
	own := func(name string) func(*tls.Config) {
		return func(c *tls.Config) {
			n.IssueWith("kubelet-server", func(template *x509.Certificate) {
				template.Subject = pkix.Name{CommonName: fmt.Sprintf("%s@%d", name, started.Unix())}
				template.NotBefore, template.NotAfter = started.Add(-time.Hour), started.Add(355*day)
			})
			pair, err := tls.LoadX509KeyPair(n.Certificate("kubelet-server"), n.Key("kubelet-server"))
			if err != nil {
				t.Fatal(err)
			}
			c.Certificates = []tls.Certificate{pair}
		}
	}
	probe := func(name, address string) pki.Served {
		return pki.Probe(t.Context(), pki.Endpoint{Component: "kube-apiserver", Name: name, Address: address, ServerName: "apiserver-loopback-client"})
	}
	right := probe(pki.Loopback, listen(t, n, "apiserver", own("apiserver-loopback-client")))
	serving := probe(pki.SchedulerServing, listen(t, n, "apiserver", own("localhost")))
	other := probe(pki.Loopback, listen(t, n, "apiserver", func(*tls.Config) {}))
	silent := probe(pki.Loopback, "127.0.0.1:1")
	file := right
	file.Endpoint.Certificate = "apiserver"

	for _, tt := range []struct {
		name   string
		served pki.Served
		at     time.Time
		state  pki.State
		issued time.Time
	}{
		{"the API server's own", right, now, pki.OK, started},
		{"what a component serves", serving, now, pki.OK, started},
		{"at its end", right, started.Add(356 * day), pki.Expired, started},
		{"a clock that was ahead", right, started.Add(-2 * time.Hour), pki.Invalid, started},
		{"not the API server's own", other, now, pki.Unknown, time.Time{}},
		{"no answer", silent, now, pki.Unknown, time.Time{}},
	} {
		list := pki.InMemory([]pki.Served{tt.served}, tt.at)
		if len(list) != 1 {
			t.Fatalf("%s: %+v", tt.name, list)
		}
		c := list[0]
		if c.State != tt.state || !c.Issued.Equal(tt.issued) || c.Reason == "" || c.Kind != pki.Memory || c.Renewer != pki.Restart ||
			c.Component != "kube-apiserver" || (c.Leaf == nil) != tt.issued.IsZero() || c.Path != "" {
			t.Errorf("%s: %+v", tt.name, c)
		}
	}
	if list := pki.InMemory([]pki.Served{file}, now); len(list) > 0 {
		t.Errorf("a file is not in memory: %+v", list)
	}
}

// A serving certificate that a manifest takes from a file is a file.
func TestServingFile(t *testing.T) {
	const manifest = manifests + "kube-scheduler.yaml"
	endpoint := func(n *pkitest.Node) (found []pki.Endpoint) {
		l, _ := pki.Locate(pki.Options{Root: n.Root})
		for _, e := range l.Endpoints() {
			if e.Name == pki.SchedulerServing {
				found = append(found, e)
			}
		}
		return found
	}
	n := pkitest.New(t, now)
	if e := endpoint(n); len(e) != 1 || e[0].Certificate != "" {
		t.Errorf("as kubeadm configures it: %+v", e)
	}
	edit(t, n, manifest, "--bind-address=127.0.0.1", "--tls-cert-file=/etc/kubernetes/pki/apiserver.crt\n    - --tls-private-key-file=/etc/kubernetes/pki/apiserver.key")
	if e := endpoint(n); len(e) != 1 || e[0].Certificate != pki.SchedulerServing {
		t.Errorf("with a file: %+v", e)
	}
	if c := read(t, n, now)[pki.SchedulerServing]; c.State != pki.OK || c.Renewer != pki.Nobody || c.Path != "/etc/kubernetes/pki/apiserver.crt" {
		t.Errorf("the file: %+v", c)
	}

	n = pkitest.New(t, now)
	edit(t, n, manifest, "--bind-address=127.0.0.1", "--cert-dir=/etc/kubernetes/pki/own")
	if e := endpoint(n); len(e) != 1 || e[0].Certificate != "" {
		t.Errorf("with a directory of the container: %+v", e)
	}
	n.Write("/etc/kubernetes/pki/own/kube-scheduler.crt", "")
	if e := endpoint(n); len(e) != 1 || e[0].Certificate != pki.SchedulerServing {
		t.Errorf("with a directory of the host: %+v", e)
	}

	n = pkitest.New(t, now)
	edit(t, n, manifest, "--bind-address=127.0.0.1", "--secure-port=0")
	if e := endpoint(n); len(e) != 0 {
		t.Errorf("without a port: %+v", e)
	}
}
