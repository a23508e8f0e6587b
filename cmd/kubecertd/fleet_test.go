package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/report"
)

// clusterServer is an API server with fixed answers by method and path, 404 for what has none. It says
// what it was sent.
func clusterServer(t *testing.T, answers map[string]string) (kubeconfig string, sent <-chan string) {
	t.Helper()
	bodies := make(chan string, 100)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		body, _ := io.ReadAll(r.Body)
		if len(body) > 0 {
			bodies <- r.Method + " " + r.URL.Path + " " + string(body)
		}
		answer, ok := answers[r.Method+" "+r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	kubeconfig = filepath.Join(t.TempDir(), "cluster.conf")
	content := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
users: [{name: u, user: {token: t}}]
`, server.URL, base64.StdEncoding.EncodeToString(ca))
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig, bodies
}

func TestFleet(t *testing.T) {
	looked := time.Now().UTC().Add(-time.Hour).Format(time.RFC3339)
	summary, err := json.Marshal(fmt.Sprintf(`{"schema":1,"version":"9.9","looked":%q,"certificates":[{"name":"apiserver","notAfter":"2099-01-01T00:00:00Z","state":"ok"}]}`, looked))
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, _ := clusterServer(t, map[string]string{
		"GET /api/v1/nodes": `{"items":[{"metadata":{"name":"cp1","labels":{"node-role.kubernetes.io/control-plane":""},"annotations":{"kubecertd.io/turn":"{}","kubecertd.io/certificates":` + string(summary) + `}}},
			{"metadata":{"name":"w1"}}]}`,
		"GET /apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kubecertd-turn": `{"metadata":{"resourceVersion":"1"},"spec":{"holderIdentity":"cp1"}}`,
	})
	run := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if err := execute(t.Context(), append([]string{"fleet", "--kubeconfig", kubeconfig}, args...), &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	var f report.Fleet
	if err := json.Unmarshal([]byte(run("-o", "json")), &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Nodes) != 2 || f.Nodes[0].Name != "w1" || f.Nodes[0].State != "none" || f.Nodes[1].State != "ok" || !f.Nodes[1].ControlPlane || !f.Nodes[1].Working ||
		f.Nodes[1].Report.Version != "9.9" || f.Turn != "cp1" {
		t.Errorf("got %+v", f)
	}
	for _, want := range []string{"2099-01-01 00:00", "Turn: cp1", "w1: no report", "cp1: a run is at work"} {
		if table := run(); !strings.Contains(table, want) {
			t.Errorf("there is no %q in\n%s", want, table)
		}
	}
	if text := run("-o", "yaml"); !strings.Contains(text, "controlPlane: true") {
		t.Errorf("got %s", text)
	}
	page := filepath.Join(t.TempDir(), "fleet.html")
	if text := run("--html", page); text != "" {
		t.Errorf("it says %q", text)
	}
	written, err := os.ReadFile(page)
	if err != nil || !bytes.HasPrefix(written, []byte("<!DOCTYPE html>")) || !bytes.Contains(written, []byte(`data-node="cp1"`)) {
		t.Errorf("%s: %v", written, err)
	}
	if text := run("-o", "html"); !strings.HasPrefix(text, "<!DOCTYPE html>") {
		t.Errorf("it writes %s", text)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(page), ".kubecertd-*")); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v (%v)", left, err)
	}
	for _, args := range [][]string{{"--html", page, "-o", "json"}, {"-o", "text"}, {"more"}} {
		var usage usageError
		if err := execute(t.Context(), append([]string{"fleet", "--kubeconfig", kubeconfig}, args...), io.Discard, io.Discard); !errors.As(err, &usage) {
			t.Errorf("%v: %v, want it refused", args, err)
		}
	}
}
