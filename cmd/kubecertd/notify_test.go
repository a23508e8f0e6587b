package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report/notify"
)

// The daemon tells of what its first look has seen, and of what a reload has made of it.
func TestDaemonNotifies(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the daemon refuses to run unless it is root: run as root, as CI does")
	}
	events := make(chan notify.Event, 9)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e notify.Event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		events <- e
	}))
	t.Cleanup(server.Close)
	// It has run out, and is only watched.
	watched := pkitest.New(t, time.Now().Add(-400*pkitest.Day)).Certificate("apiserver")
	dir := t.TempDir()
	file := filepath.Join(dir, "kubecertd.yaml")
	configure := func(target string) {
		t.Helper()
		content := "paths:\n  kubernetes: " + filepath.Join(dir, "kubernetes") + "\n  kubelet: " + filepath.Join(dir, "kubelet") +
			"\n  state: " + filepath.Join(dir, "state") + "\nwatch:\n  files: " + watched + "\n" + target
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure("notify: [{name: first, type: webhook, url: \"" + server.URL + "\"}]\n")
	manager := newServiceManager(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- execute(ctx, []string{"run", "--config", file}, io.Discard, io.Discard) }()
	manager.await("READY=1")
	await := func() {
		t.Helper()
		select {
		case e := <-events:
			if e.Event != notify.Noticed || e.Finding != "watched-certificate" || e.About != watched || e.Node == "" {
				t.Errorf("told %+v", e)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("nobody was told")
		}
	}
	await()
	configure("notify: [{name: second, type: webhook, url: \"" + server.URL + "\"}]\n")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
}

// What can be configured is what can be told.
func TestEventsAreThoseOfTheConfiguration(t *testing.T) {
	want := []string{notify.Due, notify.Renewed, notify.Restarted, notify.Failed, notify.PutBack, notify.Stale, notify.CAExpiring, notify.Blocked, notify.Noticed, notify.Recovered}
	if diff := cmp.Diff(want, configs.Events); diff != "" {
		t.Errorf("(-told +configured)\n%s", diff)
	}
	for _, e := range configs.Attention {
		if !slices.Contains(want, e) {
			t.Errorf("%s is told by default and does not exist", e)
		}
	}
}

func TestHooksAreThoseOfTheConfiguration(t *testing.T) {
	c := configs.Default()
	c.Paths.Root = t.TempDir()
	c.Hooks = configs.Hooks{BeforeRenewal: configs.List{"/bin/may", "now"}, AfterProof: configs.List{"/bin/was"}, Timeout: time.Second}
	n := newNode(c, nil)
	defer n.close()
	want := renew.Hooks{Before: renew.Program{Argv: []string{"/bin/may", "now"}, Timeout: time.Second}, After: renew.Program{Argv: []string{"/bin/was"}, Timeout: time.Second}}
	if diff := cmp.Diff(want, n.Hooks); diff != "" {
		t.Errorf("(-configured +wired)\n%s", diff)
	}
}
