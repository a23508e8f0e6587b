//go:build linux

package e2e_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
	"github.com/kubecertd/kubecertd/test/story"
)

// shifted makes a program whose clock a file moves: what a component makes at its start
// is always new by the clock of the machine.
var shifted = &story.Builder{Tags: "grpcnotrace,failpoints"}

// clockFile is cmd/kubecertd/clock.go's.
const clockFile = "/run/kubecertd-clock"

// Certificates that no file holds, and the one that the kubelet made for itself, are made
// anew by restarts before they run out: of exactly the components that have them, once,
// and proven.
func TestCertificatesThatOnlyARestartRenews(t *testing.T) {
	n := onNode(t)
	// Files that are not due whatever the threshold is here, and that all have read.
	names := slices.Sorted(maps.Keys(story.CertificateFiles))
	issued := time.Now().Add(-355 * 24 * time.Hour)
	if err := n.MintCertificates(issued, issued.Add(9*365*24*time.Hour), names...); err != nil {
		t.Fatal(err)
	}
	for _, files := range story.CertificateFiles {
		for _, file := range files {
			if err := os.Chtimes(filepath.Join(n.Root(), file), issued, issued); err != nil {
				t.Fatal(err)
			}
		}
	}
	reinstall := func(b *story.Builder) {
		if err := n.InstallPackage(t.Context(), b.Deb(t, story.Version)); err != nil {
			t.Fatal(err)
		}
	}
	reinstall(shifted)
	t.Cleanup(func() {
		result, err := n.Try("sh", "-c", "systemctl stop kubecertd; rm -f "+clockFile+" "+story.StateDir+"/ledger.json; dpkg --purge kubecertd && rm -rf "+story.StateDir)
		if err != nil {
			t.Errorf("%v\n%s", err, result.Stderr)
		}
	})

	for _, tt := range []struct {
		name, before, clock string
		memory              []string // what is due then, and by whom it is made
		restarted           []string
		last                string // the component that is restarted last
		kubelet             bool
	}{
		// Of a life of three years, 1065 days are left; the others' threshold is a third of theirs.
		{"loopback", "1070d", "720h", []string{pki.Loopback}, []string{"kube-apiserver"}, "kube-apiserver", false},
		// Of a year, 345 days are left; of three years, more.
		{"serving", "350d", "480h", []string{pki.ControllerManagerServing, pki.SchedulerServing},
			[]string{"kube-controller-manager", "kube-scheduler"}, "kubelet", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.MustRun(t, "sh", "-c", "systemctl stop kubecertd; rm -rf "+story.StateDir+"/runs "+story.StateDir+"/ledger.json")
			n.Configure(t, story.Soon+"renew: {before: "+tt.before+"}\nrestart: {policy: auto}\n")
			if result, err := n.Try("kubecertd", "plan"); err != nil {
				t.Fatalf("something is due already: %s%s", result.Stdout, result.Stderr)
			}
			before, old, kubelet := n.Observe(t), inStatus(t, n), n.Leaf(t, "kubelet-server")
			n.Began = time.Now()
			n.Write(t, clockFile, tt.clock+"\n", 0o600)
			n.Start(t)
			// Until the last has been stopped for it the clock stays moved; what is made then is
			// judged by the right one.
			story.Eventually(t, time.Minute, func() error {
				if stopped := story.Values(n.Events(t, renew.EventRestarting), "COMPONENT"); !slices.Contains(stopped, tt.last) {
					return fmt.Errorf("restarted so far: %v", stopped)
				}
				return nil
			})
			n.Write(t, clockFile, "0s\n", 0o600)
			n.AwaitDone(t, 2*time.Minute)
			n.RestartedOnce(t, before, tt.restarted...)
			n.KubeletRestarted(t, before, tt.kubelet)

			fresh := inStatus(t, n)
			due := slices.Clone(tt.memory)
			if tt.kubelet {
				due = append(due, "kubelet-server")
			}
			for name, c := range fresh {
				was := old[name]
				// Those that lose the API may restart by themselves.
				if changed := c.SHA256 != was.SHA256; changed != slices.Contains(due, name) && (tt.kubelet || name == pki.Loopback) {
					t.Errorf("%s was %s and is %s: another = %t", name, was.SHA256, c.SHA256, changed)
				}
				if c.State != pki.OK {
					t.Errorf("%s is %s: %s", name, c.State, c.Reason)
				}
			}
			if len(fresh) != 4 {
				t.Errorf("status shows %v", slices.Sorted(maps.Keys(fresh)))
			}
			runs := n.History(t)
			if len(runs) != 1 || runs[0].Outcome != renew.Done || !slices.Equal(slices.Sorted(slices.Values(runs[0].Renewed)), slices.Sorted(slices.Values(due))) {
				t.Errorf("recorded: %+v", runs)
			}
			if err := story.Contains(strings.Join(reasons(runs[0]), "\n"), tt.memory[0], "only a restart makes a new one"); err != nil {
				t.Error(err)
			}
			if now := n.Leaf(t, "kubelet-server"); tt.kubelet {
				if err := n.Serves(t, "10250", "kubelet-server"); err != nil {
					t.Error(err)
				}
				host := func(name string) string { h, _, _ := strings.Cut(name, "@"); return h }
				if now.Equal(kubelet) || host(now.Subject.CommonName) != host(kubelet.Subject.CommonName) || !now.NotAfter.After(kubelet.NotAfter) {
					t.Errorf("kubelet.crt was %s until %s and is %s until %s", kubelet.Subject, kubelet.NotAfter, now.Subject, now.NotAfter)
				}
				if mode := n.MustRun(t, "stat", "--format=%a", "/var/lib/kubelet/pki/kubelet.key"); strings.TrimSpace(mode) != "600" {
					t.Errorf("kubelet.key has mode %s", mode)
				}
			}
			if err := n.WaitHealthy(t.Context()); err != nil {
				t.Error(err)
			}
			story.Eventually(t, 20*time.Second, n.Settled)
			n.APIWorks(t)

			// Once.
			after := n.Observe(t)
			n.MustRun(t, "systemctl", "reload", "kubecertd")
			n.AwaitEvent(t, 10*time.Second, renew.EventReloaded)
			story.Eventually(t, 10*time.Second, n.Settled)
			n.Untouched(t, after)
		})
	}
	// Files are all that can be seen without asking anybody.
	if said := n.MustRun(t, "kubecertd", "status", "--disk"); strings.Contains(said, pki.Loopback) || !strings.Contains(said, "kubelet-server") {
		t.Errorf("status --disk shows\n%s", said)
	}
}

// inStatus are the certificates that only a restart renews.
func inStatus(t *testing.T, n *node) map[string]report.Certificate {
	t.Helper()
	found := map[string]report.Certificate{}
	story.Eventually(t, 20*time.Second, func() error {
		s, err := n.Status()
		if err != nil {
			return err
		}
		for _, c := range s.Certificates {
			if c.Renewer != pki.Restart {
				continue
			}
			if found[c.Name] = c; c.SHA256 == "" {
				return fmt.Errorf("%s is %s: %s", c.Name, c.State, c.Reason)
			}
		}
		return nil
	})
	return found
}

// reasons are why a run has restarted what it has.
func reasons(run renew.Run) []string {
	var list []string
	for _, e := range run.Entries {
		if e.Event == "begin" && strings.HasPrefix(e.Step, "restart ") {
			list = append(list, e.Step+": "+e.Reason)
		}
	}
	return list
}
