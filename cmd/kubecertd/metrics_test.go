package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki/pkitest"
)

// serviceManager is the socket that systemd gives to a daemon.
type serviceManager struct {
	t      *testing.T
	socket *net.UnixConn
}

func newServiceManager(t *testing.T) serviceManager {
	t.Helper()
	dir, err := os.MkdirTemp("", "") // t.TempDir() may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address := &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"}
	socket, err := net.ListenUnixgram("unixgram", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	t.Setenv("NOTIFY_SOCKET", address.Name)
	return serviceManager{t, socket}
}

// await waits until the daemon says something.
func (m serviceManager) await(what string) {
	m.t.Helper()
	if err := m.socket.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		m.t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	for {
		n, err := m.socket.Read(buffer)
		if err != nil {
			m.t.Fatalf("the daemon never said %s: %v", what, err)
		}
		if strings.Contains(string(buffer[:n]), what) {
			return
		}
	}
}

// The daemon serves what its first look saw when it says that it is ready, gives it to
// node_exporter once the configuration says so, and stops to listen when it ends.
func TestDaemonGivesOutMetrics(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the daemon refuses to run unless it is root: run as root, as CI does")
	}
	watched := pkitest.New(t, time.Now().Add(-time.Hour)).Certificate("apiserver")
	port, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := port.Addr().String()
	if err := port.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, textfile := filepath.Join(dir, "kubecertd.yaml"), filepath.Join(dir, "kubecertd.prom")
	configure := func(metrics string) {
		t.Helper()
		// A host that is no node: whatever is on this one, nothing is to be done.
		content := "paths:\n  kubernetes: " + filepath.Join(dir, "kubernetes") + "\n  kubelet: " + filepath.Join(dir, "kubelet") +
			"\n  state: " + filepath.Join(dir, "state") + "\nwatch:\n  files: " + watched + "\nmetrics:\n  listen: " + address + "\n" + metrics
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure("")
	manager := newServiceManager(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- execute(ctx, []string{"run", "--config", file}, io.Discard, io.Discard) }()
	manager.await("READY=1")
	// The listener is another goroutine's, which may still be about to begin.
	manager.awaitPort(address)
	client := &http.Client{}
	defer client.CloseIdleConnections()
	if text := scrape(t, client, address); !strings.Contains(text, `kubecertd_watched_certificate_expiration_timestamp_seconds{path="`+watched+`"}`) || strings.Contains(text, "x509_") {
		t.Errorf("it serves\n%s", text)
	}
	if _, err := os.Stat(textfile); err == nil {
		t.Error("it writes a textfile although nobody asked for it")
	}

	configure("  x509: true\n  textfile: " + textfile + "\n")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	manager.await("STATUS=")
	written, err := os.ReadFile(textfile)
	if err != nil || !bytes.Contains(written, []byte("x509_cert_not_after{")) {
		t.Errorf("read again, the configuration has it write %s (%v)", written, err)
	}
	if text := scrape(t, client, address); text != string(written) {
		t.Errorf("it serves\n%s", text)
	}

	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	if connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
		_ = connection.Close()
		t.Error("it listens after its end")
	}
}

// awaitPort waits until somebody listens.
func (m serviceManager) awaitPort(address string) {
	m.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); ; {
		connection, err := (&net.Dialer{}).DialContext(m.t.Context(), "tcp", address)
		if err == nil {
			_ = connection.Close()
			return
		}
		if time.Now().After(end) {
			m.t.Fatal(err)
		}
		<-tick.C
	}
}

func scrape(t *testing.T, client *http.Client, address string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", response.Status, err)
	}
	return string(content)
}
