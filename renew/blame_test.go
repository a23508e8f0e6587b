package renew

import (
	"slices"
	"strings"
	"testing"

	"github.com/kubecertd/kubecertd/pki"
)

func TestBlame(t *testing.T) {
	certificate := func(name, path string, state pki.State) pki.Certificate {
		return pki.Certificate{Name: name, Path: path, KeyPath: strings.TrimSuffix(path, ".crt") + ".key", State: state, Reason: "is empty"}
	}
	good := []pki.Certificate{
		certificate("apiserver", "/etc/kubernetes/pki/apiserver.crt", pki.OK),
		certificate("apiserver-etcd-client", "/etc/kubernetes/pki/apiserver-etcd-client.crt", pki.OK),
		certificate("scheduler.conf", "/etc/kubernetes/scheduler.conf", pki.OK),
	}
	all := []string{"apiserver", "apiserver-etcd-client", "scheduler.conf"}
	broken := slices.Clone(good)
	broken[1].State = pki.Invalid
	tests := []struct {
		name         string
		certificates []pki.Certificate
		renewed      []string
		component    string
		said         string
		want         []string
	}{
		{"nothing said", good, all, APIServer, "", nil},
		{"unusable on disk", broken, all, APIServer, "", []string{"apiserver-etcd-client"}},
		{"unusable, and of another component", broken, all, Scheduler, "", nil},
		{"unusable, and not of this run", broken, all[:1], APIServer, "", nil},
		{"a file named", good, all, APIServer, `E1 run.go:72] "command failed" err="unable to load server certificate: open /etc/kubernetes/pki/apiserver.crt: tls: failed to find any PEM data"`, []string{"apiserver"}},
		{"a key named", good, all, APIServer, `unable to load /etc/kubernetes/pki/apiserver-etcd-client.key: bad`, []string{"apiserver-etcd-client"}},
		{"no file named", good, all, APIServer, "F1 tls: private key does not match public key", []string{"apiserver", "apiserver-etcd-client"}},
		{"refused by the server", good, all, Scheduler, `error retrieving resource lock: Unauthorized`, []string{"scheduler.conf"}},
		{"etcd cannot be reached", good, all, APIServer, `W1 dial tcp 127.0.0.1:2379: connect: connection refused`, nil},
		// What a server says about its clients is not about its own.
		{"about a client", good, all, APIServer, "http: TLS handshake error from 192.0.2.1:4711: remote error: tls: private key is bad\n" +
			`{"level":"warn","msg":"rejected connection on client endpoint","error":"x509: certificate has expired"}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, g := range blame(Observation{Certificates: tt.certificates}, tt.renewed, tt.component, tt.said) {
				got = append(got, g.Certificate)
				if g.Evidence == "" {
					t.Errorf("%s is blamed without evidence", g.Certificate)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("blamed %q, want %q", got, tt.want)
			}
		})
	}
}
