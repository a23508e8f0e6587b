package metrics_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	goruntime "runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/crypto/bcrypt"

	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/report/metrics"
)

// journal is a log that can be waited for.
type journal chan map[string]any

func newJournal() (journal, *zap.Logger) {
	j := make(journal, 100)
	return j, zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "message", EncodeDuration: zapcore.StringDurationEncoder}), j, zap.DebugLevel))
}

func (j journal) Write(line []byte) (int, error) {
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		return 0, err
	}
	j <- fields
	return len(line), nil
}

func (journal) Sync() error { return nil }

// await waits for a message and returns its fields.
func (j journal) await(t *testing.T, message string) map[string]any {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case fields := <-j:
			if fields["message"] == message {
				return fields
			}
			t.Logf("the journal has %v", fields)
		case <-deadline:
			t.Fatalf("the journal never said %q", message)
		}
	}
}

// What is said when it can be scraped, and when not.
const (
	served    = "metrics are served"
	notServed = "the metrics are not served, and it is tried again"
)

// start runs a server until the test ends.
func start(t *testing.T, s metrics.Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

func get(t *testing.T, client *http.Client, url string, change func(*http.Request)) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(request)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestServer(t *testing.T) {
	j, log := newJournal()
	stop := start(t, metrics.Server{Listen: "127.0.0.1:0", Metrics: full(), Log: log})
	address := j.await(t, served)["listen"].(string)
	client := &http.Client{}
	code, body := get(t, client, "http://"+address+"/metrics", nil)
	if code != http.StatusOK || body != exposition(t, full()) {
		t.Errorf("%d:\n%s", code, body)
	}
	for _, path := range []string{"/", "/debug/pprof/", "/debug/requests"} {
		if code, _ := get(t, client, "http://"+address+path, nil); code != http.StatusNotFound {
			t.Errorf("%s answers with %d, want nothing there", path, code)
		}
	}
	kept, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	if _, err := io.WriteString(kept, "GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(kept)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.Close {
		t.Fatalf("the connection is closed after a scrape: %v", err)
	}
	_ = response.Body.Close()
	stop()
	if err := kept.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("a connection that was kept is not closed at the end: %v", err)
	}
	if connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
		_ = connection.Close()
		t.Error("it still listens after its end")
	}
}

// A port that is taken keeps nobody from doing their work: it is said once, and tried again.
func TestServerWaitsForThePort(t *testing.T) {
	other, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	j, log := newJournal()
	start(t, metrics.Server{Listen: other.Addr().String(), Metrics: full(), Retry: time.Millisecond, Log: log})
	said := j.await(t, notServed)
	if text := said["error"].(string); !strings.Contains(text, "metrics.listen: listen tcp "+other.Addr().String()+": bind: address already in use") || !strings.Contains(text, "ss -ltnp") {
		t.Errorf("it is said as %q", text)
	}
	const still = "the metrics are still not served" // for who wants to know all
	if next := <-j; next["message"] != still {
		t.Errorf("then it says %v", next)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	next := <-j
	for next["message"] == still {
		next = <-j
	}
	if next["message"] != served {
		t.Errorf("then it says %v", next)
	}
}

// webConfig writes a file of exporter-toolkit that wants TLS and a password.
func webConfig(t *testing.T, password string) (file string, roots *x509.CertPool) {
	t.Helper()
	files := pkitest.New(t, time.Now().Add(-time.Hour))
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "web.yaml")
	content := "tls_server_config:\n  cert_file: " + files.Certificate("apiserver") + "\n  key_file: " + files.Key("apiserver") +
		"\nbasic_auth_users:\n  prometheus: " + string(hash) + "\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(files.Certificate("ca"))
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatal("no CA")
	}
	return file, roots
}

func TestServerWithTLSAndUsers(t *testing.T) {
	file, roots := webConfig(t, "secret")
	j, log := newJournal()
	start(t, metrics.Server{Listen: "127.0.0.1:0", WebConfig: file, Metrics: full(), Log: log})
	address := j.await(t, served)["listen"].(string)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "kubernetes", MinVersion: tls.VersionTLS12}}
	client := &http.Client{Transport: transport}
	defer transport.CloseIdleConnections()
	for _, tt := range []struct {
		password string
		want     int
	}{{"", http.StatusUnauthorized}, {"wrong", http.StatusUnauthorized}, {"secret", http.StatusOK}} {
		code, body := get(t, client, "https://"+address+"/metrics", func(r *http.Request) {
			if tt.password != "" {
				r.SetBasicAuth("prometheus", tt.password)
			}
		})
		if code != tt.want || strings.Contains(body, "kubecertd_") != (tt.want == http.StatusOK) {
			t.Errorf("with %q it answers %d:\n%s", tt.password, code, body)
		}
	}
	if code, body := get(t, &http.Client{}, "http://"+address+"/metrics", nil); code == http.StatusOK || strings.Contains(body, "kubecertd_") {
		t.Errorf("without TLS it answers %d:\n%s", code, body)
	}
}

// A web configuration that is wrong must not be served without, and is used once it is right.
func TestServerWithAWrongWebConfig(t *testing.T) {
	file, _ := webConfig(t, "secret")
	right, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("tls_server_confik: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	j, log := newJournal()
	start(t, metrics.Server{Listen: "127.0.0.1:0", WebConfig: file, Metrics: full(), Retry: time.Millisecond, Log: log})
	if text := j.await(t, notServed)["error"].(string); !strings.Contains(text, "metrics.webConfig: "+file) || !strings.Contains(text, "tls_server_confik") {
		t.Errorf("it is said as %q", text)
	}
	// In one step, or it would be seen half written.
	if err := os.WriteFile(file+".new", right, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	j.await(t, served)
}

// What is wrong with a file with passwords is said without them.
func TestWebConfigIsNotQuoted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web.yaml")
	for content, want := range map[string]string{
		"basic_auth_users: hunter2":                         "cannot unmarshal !!str `…` into map",
		"basic_auth_users: {prometheus: hunter2}":           "bcrypt",
		"tls_server_config: {key: hunter2, cert: hunter2}":  "PEM",
		"tls_server_config: {cert_file: /x, key_file: /no}": "/x: no such file or directory",
		"http_server_config: {http2: hunter2}":              "cannot unmarshal !!str `…` into bool",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := metrics.CheckWebConfig(file)
		if err == nil || strings.Contains(err.Error(), "hunter") || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "metrics.webConfig: "+file+": ") {
			t.Errorf("%s: %v; want %q", content, err, want)
		}
	}
	if err := metrics.CheckWebConfig(""); err != nil {
		t.Errorf("none: %v", err)
	}
}

func TestTextfile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node-exporter")
	file := filepath.Join(dir, "kubecertd.prom")
	j, log := newJournal()
	e := metrics.NewExporter(log)
	defer e.Close()
	e.Apply(metrics.Settings{Options: options, Textfile: file})
	e.Looked(look()) // whoever makes the directory may come later
	e.Ran(run())
	e.Looked(look())
	if said := j.await(t, "the metrics are not written"); said["path"] != file || !strings.Contains(said["error"].(string), "no such file or directory") {
		t.Errorf("it is said as %v", said)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	e.Looked(look())
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := metrics.New(options)
	want.Looked(look())
	want.Ran(run())
	if string(content) != exposition(t, want) {
		t.Errorf("written was\n%s", content)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("it has mode %v (%v): node_exporter is not root", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("beside it lie %v (%v)", entries, err)
	}
	if len(j) != 0 {
		t.Errorf("more was said: %v", <-j)
	}
	// It is replaced, and not written in place, where a reader could see half of it.
	e.Looked(look())
	if after, err := os.Stat(file); err != nil || os.SameFile(info, after) {
		t.Errorf("it was written in place (%v)", err)
	}
	// After a repair it is said again when it is lost again.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	e.Looked(look())
	j.await(t, "the metrics are not written")
}

// New settings take effect, what was counted goes on, and without any nothing is given out.
func TestExporterApplies(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "kubecertd.prom")
	j, log := newJournal()
	e := metrics.NewExporter(log)
	e.Looked(look())
	e.Ran(run())
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 || len(j) != 0 {
		t.Fatalf("without settings it wrote %v (%v)", entries, err)
	}
	e.Apply(metrics.Settings{Options: options, Listen: "127.0.0.1:0"})
	address := j.await(t, served)["listen"].(string)
	e.Looked(look())
	e.Ran(run())
	client := &http.Client{}
	defer client.CloseIdleConnections()
	if _, body := get(t, client, "http://"+address+"/metrics", nil); !strings.Contains(body, `kubecertd_runs_total{outcome="failed"} 1`) || strings.Contains(body, "x509_") {
		t.Errorf("it serves\n%s", body)
	}
	settings := metrics.Settings{Options: options, Listen: "127.0.0.1:0", Textfile: file}
	settings.X509 = true
	e.Apply(settings)
	e.Looked(look())
	if _, body := get(t, client, "http://"+address+"/metrics", nil); !strings.Contains(body, `kubecertd_runs_total{outcome="failed"} 1`) || !strings.Contains(body, "x509_cert_not_after{") {
		t.Errorf("with other settings it serves, where it did before,\n%s", body)
	}
	if content, err := os.ReadFile(file); err != nil || !bytes.Contains(content, []byte("x509_cert_not_after{")) {
		t.Errorf("written was %s (%v)", content, err)
	}
	e.Close()
	if connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
		_ = connection.Close()
		t.Error("it listens after its end")
	}
}

// While the loop rests, and Go's collector with it, scrapes do not make the daemon grow.
func TestScrapesLeaveNoGarbage(t *testing.T) {
	percent := debug.SetGCPercent(-1)
	defer debug.SetGCPercent(percent)
	m := metrics.New(options)
	m.Looked(realLook(t))
	handler := metrics.Server{Metrics: m}.Handler()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	var before, after goruntime.MemStats
	goruntime.GC()
	goruntime.ReadMemStats(&before)
	for range 2048 {
		handler.ServeHTTP(&discard{header: http.Header{}}, request)
	}
	goruntime.ReadMemStats(&after)
	if left := int64(after.HeapAlloc) - int64(before.HeapAlloc); left > 4<<20 || after.TotalAlloc-before.TotalAlloc < 8<<20 {
		t.Errorf("of %d bytes %d are left", after.TotalAlloc-before.TotalAlloc, left)
	}
}

// The idle daemon is scraped every few seconds, and its collector rests.
func BenchmarkScrape(b *testing.B) {
	settings := options
	settings.X509 = true
	m := metrics.New(settings)
	m.Looked(realLook(b))
	m.Ran(run())
	handler := metrics.Server{Metrics: m}.Handler()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w := &discard{header: http.Header{}}
		handler.ServeHTTP(w, request)
		if w.n < 10_000 {
			b.Fatal("nothing was served")
		}
	}
}

// discard is a client that reads and forgets.
type discard struct {
	header http.Header
	n      int
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(p []byte) (int, error) {
	d.n += len(p)
	return len(p), nil
}
