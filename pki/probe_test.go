package pki_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
)

// listen serves a leaf of the node on a loopback port.
func listen(t *testing.T, n *pkitest.Node, name string, change func(*tls.Config)) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(n.Certificate(name), n.Key(name))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	change(config)
	return pkitest.Serve(t, config)
}

func TestProbe(t *testing.T) {
	n := pkitest.New(t, now)
	other := pkitest.New(t, now)
	tests := []struct {
		name   string
		change func(*tls.Config)
	}{
		{"TLS 1.3", func(*tls.Config) {}},
		{"TLS 1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }},
		// etcd and the kubelet may refuse whoever has no certificate; what they serve
		// was shown before that.
		{"demands a client certificate", func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }},
		{"demands one, TLS 1.2", func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// An expired certificate is an answer like any other.
			n.Issue("apiserver", now.Add(-10*day), now.Add(-day))
			address := listen(t, n, "apiserver", tt.change)
			s := pki.Probe(t.Context(), pki.Endpoint{Component: "kube-apiserver", Address: address, ServerName: "kubernetes", Certificate: "apiserver"})
			file := read(t, n, now)["apiserver"]
			if s.Error != "" || s.SHA256 != file.SHA256 || s.Serial != file.Serial || !s.NotAfter.Equal(file.NotAfter) {
				t.Errorf("served %+v, want what is in the file", s)
			}
			if equal, evidence := pki.Compare(file, s); !equal || !strings.Contains(evidence, address) {
				t.Errorf("compared: %v (%s)", equal, evidence)
			}
			foreign := read(t, other, now)["apiserver"]
			equal, evidence := pki.Compare(foreign, s)
			if equal || !strings.Contains(evidence, file.Serial[:8]) || !strings.Contains(evidence, foreign.Serial[:8]) {
				t.Errorf("compared with another: %v (%s); want both serials named", equal, evidence)
			}
		})
	}
}

// One listener shows another certificate for another name, as kube-apiserver does
// for its loopback client.
func TestProbeServerName(t *testing.T) {
	n := pkitest.New(t, now)
	address := listen(t, n, "apiserver", func(c *tls.Config) {
		loopback, err := tls.LoadX509KeyPair(n.Certificate("etcd-server"), n.Key("etcd-server"))
		if err != nil {
			t.Fatal(err)
		}
		c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName == "apiserver-loopback-client" {
				return &loopback, nil
			}
			return nil, nil
		}
	})
	served := pki.ProbeAll(t.Context(), []pki.Endpoint{{Address: address, ServerName: "kubernetes"}, {Address: address, ServerName: "apiserver-loopback-client"}})
	if byName := read(t, n, now); served[0].SHA256 != byName["apiserver"].SHA256 || served[1].SHA256 != byName["etcd-server"].SHA256 {
		t.Errorf("served %+v", served)
	}
}

func TestProbeNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	silent := pki.Endpoint{Address: address}
	// Accepts connections and never says a word.
	began := time.Now()
	s := pki.Probe(t.Context(), silent)
	if s.SHA256 != "" || !strings.Contains(s.Error, "no answer from "+address) {
		t.Errorf("a silent port: %+v", s)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("a silent port took %s", took)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if s := pki.Probe(t.Context(), silent); !strings.Contains(s.Error, "connection refused") {
		t.Errorf("a closed port: %+v", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s := pki.Probe(ctx, silent); !strings.Contains(s.Error, "cancelled") {
		t.Errorf("a cancelled probe: %+v", s)
	}
	if equal, evidence := pki.Compare(pki.Certificate{SHA256: "x"}, s); equal || evidence == "" {
		t.Errorf("nothing served compares as %v (%s)", equal, evidence)
	}
}

// Whatever lies in the place of the pair that is shown to etcd: a probe ends.
func TestProbeClientPair(t *testing.T) {
	n := pkitest.New(t, now)
	shown := make(chan int, 1)
	address := listen(t, n, "etcd-server", func(c *tls.Config) {
		c.ClientAuth = tls.RequestClientCert
		c.VerifyConnection = func(state tls.ConnectionState) error {
			shown <- len(state.PeerCertificates)
			return nil
		}
	})
	edit(t, n, manifests+"etcd.yaml", "https://127.0.0.1:2379", "https://"+address)
	for name, damage := range map[string]func(){
		"whole": func() {},
		"a FIFO": func() {
			n.Remove(n.Certificate("etcd-healthcheck-client"))
			fifo(t, n.Certificate("etcd-healthcheck-client"))
		},
		"missing": func() { n.Remove(n.Key("etcd-healthcheck-client")) },
	} {
		n.Issue("etcd-healthcheck-client", now, now.Add(day))
		damage()
		l, _ := pki.Locate(pki.Options{Root: n.Root})
		for _, e := range l.Endpoints() {
			if e.Name != "etcd-server" {
				continue
			}
			answered := make(chan pki.Served, 1)
			go func() { answered <- pki.Probe(t.Context(), e) }()
			select {
			case s := <-answered:
				if s.SHA256 != read(t, n, now)["etcd-server"].SHA256 {
					t.Errorf("%s: served %+v", name, s)
				}
				if certificates := <-shown; (certificates == 1) != (name == "whole") {
					t.Errorf("%s: %d certificates shown to etcd", name, certificates)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%s: the probe hangs", name)
			}
		}
		_ = os.Remove(n.Certificate("etcd-healthcheck-client"))
	}
}

func TestCompareWithoutFile(t *testing.T) {
	equal, evidence := pki.Compare(pki.Certificate{State: pki.Invalid, Reason: "is empty"},
		pki.Served{Endpoint: pki.Endpoint{Address: "127.0.0.1:6443"}, SHA256: "x", Serial: "12345678", NotAfter: now})
	if equal || !strings.Contains(evidence, "is empty") || strings.Contains(evidence, "0001") {
		t.Errorf("compared: %v (%s)", equal, evidence)
	}
}

func fifo(t *testing.T, name string) {
	t.Helper()
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
}
