//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

// The labs of these stories. A person's own lab has another name.
const (
	singleLab = "e2e"
	joinedLab = "e2e-joined"
)

// keepLab leaves the labs up after the tests, for a look inside: go run ./test/lab
// --name e2e sh cp1.
const keepLab = "KUBECERTD_E2E_KEEP"

func TestMain(m *testing.M) {
	code := m.Run()
	if err := down(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// down removes what the stories used, also when one of them failed.
func down() error {
	if packages.dir != "" {
		if err := os.RemoveAll(packages.dir); err != nil {
			return err
		}
	}
	if len(controlplane.Missing()) > 0 {
		return nil
	}
	if os.Getenv(keepLab) != "" {
		fmt.Fprintf(os.Stderr, "%s is set: the labs %s and %s stay; go run ./test/lab --name %s down removes one\n", keepLab, singleLab, joinedLab, singleLab)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, name := range []string{singleLab, joinedLab} {
		if err := controlplane.Down(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// single is the one-node control plane that most stories share.
var single = sync.OnceValues(func() (*controlplane.Cluster, error) {
	return controlplane.Up(context.Background(), controlplane.Options{Name: singleLab, Progress: os.Stderr})
})

// requireLab skips a test that cannot be told here, with the reason.
func requireLab(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a control plane takes long")
	}
	if missing := controlplane.Missing(); len(missing) > 0 {
		t.Skip(strings.Join(missing, "; "))
	}
}

// onNode gives the node of the shared control plane for one story: healthy, with the
// package installed, the shipped configuration, the daemon stopped, and nothing to do.
func onNode(t *testing.T) *node {
	t.Helper()
	requireLab(t)
	cluster, err := single()
	if err != nil {
		t.Fatal(err)
	}
	return prepare(t, cluster.Nodes[0])
}

// eventually polls a condition, which says what is still wrong, and gives up with the
// last that it said.
func eventually(t *testing.T, limit time.Duration, condition func() error) {
	t.Helper()
	for end := time.Now().Add(limit); ; {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %v", limit, err)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// contains says which of the words a text lacks.
func contains(text string, words ...string) error {
	var lacking []string
	for _, word := range words {
		if !strings.Contains(text, word) {
			lacking = append(lacking, fmt.Sprintf("%q", word))
		}
	}
	if len(lacking) > 0 {
		return fmt.Errorf("no %s in:\n%s", strings.Join(lacking, ", no "), text)
	}
	return nil
}
