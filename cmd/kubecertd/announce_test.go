package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// The daemon tells the cluster of its node, with the credentials that are configured and
// of what the configuration allows. It is paused, so that it touches nothing here.
func TestDaemonTellsTheCluster(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the daemon refuses to run unless it is root: run as root, as CI does")
	}
	for name, tt := range map[string]struct{ configuration, first, second string }{
		"both":             {"", "PATCH /api/v1/nodes/cp1/status ", "POST /apis/events.k8s.io/v1/namespaces/default/events "},
		"only the events":  {"condition: false", "POST /apis/events.k8s.io/v1/namespaces/default/events ", ""},
		"nothing at first": {"condition: false, events: false", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			files := pkitest.New(t, time.Now().Add(-355*pkitest.Day)) // all of it is due
			// One that names no other files: those would be looked for on this host.
			files.Write("/etc/kubernetes/kubelet.conf", files.Embedded("cp1", time.Now().Add(-355*pkitest.Day), time.Now().Add(10*pkitest.Day)))
			dir := t.TempDir()
			state := filepath.Join(dir, "state")
			if err := (renew.State{Dir: state}).Pause(renew.Pause{Since: time.Now(), Reason: "this is a test"}); err != nil {
				t.Fatal(err)
			}
			kubeconfig, sent := clusterServer(t, map[string]string{
				"GET /api/v1/nodes/cp1":                                 `{"metadata":{"name":"cp1","uid":"c0ffee"}}`,
				"PATCH /api/v1/nodes/cp1/status":                        "{}",
				"POST /apis/events.k8s.io/v1/namespaces/default/events": "{}",
			})
			file := filepath.Join(dir, "kubecertd.yaml")
			configure := func(node string) {
				t.Helper()
				content := "paths:\n  kubernetes: " + files.Path("/etc/kubernetes") + "\n  certificates: " + files.Path("/etc/kubernetes/pki") + "\n  kubelet: " + files.Path("/var/lib/kubelet") +
					"\n  state: " + state + "\ncluster:\n  kubeconfig: " + kubeconfig + "\nnode: {" + node + "}\n"
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			configure(tt.configuration)
			manager := newServiceManager(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- execute(ctx, []string{"run", "--config", file}, io.Discard, io.Discard) }()
			manager.await("READY=1")
			if tt.first == "" { // until the configuration is another one
				select {
				case got := <-sent:
					t.Errorf("it says %s", got)
				default:
				}
				configure("condition: false")
				if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
				tt.first = "POST /apis/events.k8s.io/v1/namespaces/default/events "
			}
			for _, want := range []string{tt.first, tt.second} {
				if want == "" {
					continue
				}
				select {
				case got := <-sent:
					if !strings.HasPrefix(got, want) {
						t.Errorf("it says %s, want %s", got, want)
					}
					if strings.HasPrefix(got, "PATCH") && (!strings.Contains(got, `"type":"CertificateProblem"`) || !strings.Contains(got, "this is a test")) {
						t.Errorf("it says %s", got)
					}
					if strings.HasPrefix(got, "POST") && (!strings.Contains(got, `"uid":"c0ffee"`) || !strings.Contains(got, `"name":"cp1.2`)) {
						t.Errorf("it says %s", got)
					}
				case <-time.After(20 * time.Second):
					t.Fatalf("it never says %s", want)
				}
			}
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the daemon ended with %v", err)
			}
			select {
			case got := <-sent:
				if tt.second == "" {
					t.Errorf("it says %s too", got)
				}
			default:
			}
		})
	}
}
