//go:build linux

package story

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

// keepLab leaves the labs up after the tests, for a look inside: go run ./test/lab
// --name e2e sh cp1.
const keepLab = "KUBECERTD_E2E_KEEP"

// Main runs the tests of a package, and then takes away what they needed: first what
// the package itself has to.
func Main(m *testing.M, builder *Builder, first ...func() error) (code int) {
	code = m.Run()
	var err error
	for _, f := range first {
		err = errors.Join(err, f())
	}
	if err = errors.Join(err, down(), builder.Remove()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

// up is the control plane of the last story. The next one may go on with it.
var up *controlplane.Cluster

// Lab brings a control plane up, in place of the one of another name: a host has no
// room for many (fs.inotify.max_user_instances, for one).
func Lab(t *testing.T, name string, nodes int) *controlplane.Cluster {
	t.Helper()
	return LabOf(t, controlplane.Options{Name: name, Nodes: nodes})
}

// LabOf is a Lab that is told more.
func LabOf(t *testing.T, o controlplane.Options) *controlplane.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("a control plane takes long")
	}
	if missing := controlplane.Missing(); len(missing) > 0 {
		t.Skip(strings.Join(missing, "; "))
	}
	if up != nil && up.Name() == o.Name {
		return up
	}
	if err := down(); err != nil {
		t.Fatal(err)
	}
	o.Progress = os.Stderr
	cluster, err := controlplane.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	up = cluster
	return up
}

// down removes the control plane that this process brought up.
func down() error {
	if up == nil {
		return nil
	}
	if os.Getenv(keepLab) != "" {
		fmt.Fprintf(os.Stderr, "%s is set, the lab stays: go run ./test/lab --name %s down\n", keepLab, up.Name())
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := up.Down(ctx)
	up = nil
	return err
}

// Eventually polls a condition, which says what is still wrong, and gives up with the
// last that it said.
func Eventually(t *testing.T, limit time.Duration, condition func() error) {
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

// Contains says which of the words a text lacks.
func Contains(text string, words ...string) error {
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
