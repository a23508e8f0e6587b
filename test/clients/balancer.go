//go:build linux

package clients

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// configuration is of haproxy as kubeadm's documentation has it in front of a control plane
// (kubeadm: docs/ha-considerations.md), with the settings by which it takes a server out at
// the first connection that is refused, and sends the client to another.
const configuration = `global
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout check 5s
    timeout client 1m
    timeout server 1m
    retries 3
    option redispatch 1
frontend apiserver
    bind %s
    default_backend nodes
backend nodes
    balance roundrobin
    option httpchk
    http-check connect ssl
    http-check send meth GET uri /readyz
    http-check expect status 200
    default-server check verify none inter 1s fall 3 rise 2 observe layer4 error-limit 1 on-error mark-down
`

// Balance starts haproxy on a port of this machine's loopback in front of API servers, and
// ends it with the test. It returns where it listens.
func Balance(t *testing.T, servers ...string) string {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skipf("no load balancer is here: %v (tools/install-deps.sh installs it)", err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	var file strings.Builder
	fmt.Fprintf(&file, configuration, address)
	for i, server := range servers {
		fmt.Fprintf(&file, "    server node%d %s\n", i+1, server)
	}
	name := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(name, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	said := &strings.Builder{}
	haproxy := exec.CommandContext(ctx, program, "-db", "-f", name)
	haproxy.Stdout, haproxy.Stderr = said, said
	if err := haproxy.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = haproxy.Wait() }() // it ends when it is killed
	t.Cleanup(func() {
		stop()
		<-ended
		if t.Failed() {
			t.Logf("haproxy said:\n%s", said)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return address
		}
		select {
		case <-ended:
			t.Fatalf("haproxy has ended: %s\n%s", haproxy.ProcessState, said)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal(errors.Join(errors.New("haproxy does not listen"), err))
		}
	}
}

// Through writes a kubeconfig that goes through a load balancer, whose address is in no
// certificate: name is one that is in all of them.
func Through(t *testing.T, kubeconfig, address, name string) string {
	t.Helper()
	config, err := clientcmd.Load([]byte(kubeconfig))
	if err != nil {
		t.Fatal(err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server, cluster.TLSServerName = "https://"+address, name
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}
