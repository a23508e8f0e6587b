//go:build linux

package renew_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/lab/disk"
)

// later is how long after a run was cut off the next one is due at the latest.
const later = 6 * time.Hour

// depth is how much of what can be tried is tried: with -short in seconds, with
// KUBECERTD_SOAK=1 (make soak) all of it.
type depth struct {
	losses []disk.Loss
	// nextRun says that after every so many starts the next run is carried out too.
	nextRun byte
	// states says that of every so many states one is tried; plain says it of the first
	// story, in which nothing but the power fails.
	states, plain int
	// kills says the same of those in which only the daemon was killed, in all stories.
	kills int
}

func howDeep() depth {
	switch {
	case soak:
		d := depth{slices.Clone(disk.Fixed), 1, 1, 1, 1}
		for seed := range uint64(20) {
			d.losses = append(d.losses, disk.Random(seed))
		}
		return d
	case testing.Short():
		return depth{[]disk.Loss{disk.Strictest, disk.KeepAll, disk.ZeroLength}, 32, 24, 5, 6}
	}
	return depth{append(slices.Clone(disk.Fixed), disk.Random(0)), 16, 1, 1, 2}
}

var soak = os.Getenv("KUBECERTD_SOAK") != ""

// TestPowerCutAnywhere cuts the power after every single operation on the disk, with
// every loss that a file system may have, and starts again.
func TestPowerCutAnywhere(t *testing.T) {
	tests := map[string]struct {
		instead map[string]string // what kubeadm does with a certificate
		fails   bool
	}{
		"a run": {nil, false},
		// The last in each directory, so that nothing that comes later syncs it.
		"a run in which certificates are refused": {map[string]string{
			"etcd-server":        "rm $root/etc/kubernetes/pki/etcd/server.key",
			"front-proxy-client": "echo nonsense >$root/etc/kubernetes/pki/front-proxy-client.crt",
			"super-admin.conf":   ": >$root/etc/kubernetes/super-admin.conf; exit 1",
		}, true},
		"a run in which kubeadm is killed": {map[string]string{
			"controller-manager.conf": ": >$root/etc/kubernetes/controller-manager.conf; kill -9 $$",
		}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCrash(t)
			n := c.node(t, c.disk.Dir, true)
			for certificate, shell := range test.instead {
				n.instead(certificate, shell)
			}
			c.disk.Sync()
			if _, _, err := n.Act(t.Context(), renew.Wish{}, "timer"); (err != nil) != test.fails {
				t.Fatalf("the run that is to be cut off: %v", err)
			}
			n.heal()
			d := howDeep()
			if !test.fails {
				d.states = d.plain
			}
			c.check(t, c.disk.Log(), 0, d)
		})
	}
}

// TestPowerCutDuringRecovery cuts the power again while what the first cut has left is
// being put right.
func TestPowerCutDuringRecovery(t *testing.T) {
	c := newCrash(t)
	c.disk.Sync()
	if _, _, err := c.node(t, c.disk.Dir, true).Act(t.Context(), renew.Wish{}, "timer"); err != nil {
		t.Fatal(err)
	}
	log := c.disk.Log()
	var first []disk.State
	seen := map[[32]byte]bool{}
	for s := range log.States(1, disk.ZeroLength, disk.KeepAll) {
		if o := log.Ops[s.Prefix-1]; o.Kind == disk.Write && strings.Contains(o.Path, "/root/") && !seen[s.Sum()] {
			seen[s.Sum()] = true
			first = append(first, s)
		}
	}
	switch {
	case testing.Short():
		first = first[len(first)/2:][:1]
	case !soak:
		first = []disk.State{first[0], first[len(first)/2], first[len(first)-1]}
	}
	for _, s := range first {
		t.Run(s.Name(), func(t *testing.T) {
			c := c.again(t)
			if err := s.Write(c.disk.Dir); err != nil {
				t.Fatal(err)
			}
			c.disk.Sync()
			if err := c.node(t, c.disk.Dir, true).Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.check(t, c.disk.Log(), 0, howDeep())
		})
	}
}

// TestPowerCutAfterAKill kills the daemon first, and cuts the power while, or after,
// the next one has put right what it found: that it read it does not make it durable.
func TestPowerCutAfterAKill(t *testing.T) {
	c := newCrash(t)
	c.disk.Sync()
	n := c.node(t, c.disk.Dir, true)
	n.instead("apiserver", "echo nonsense >$root/etc/kubernetes/pki/apiserver.crt")
	n.instead("scheduler.conf", ": >$root/etc/kubernetes/scheduler.conf; exit 1")
	if _, _, err := n.Act(t.Context(), renew.Wish{Names: []string{"apiserver", "scheduler.conf"}}, "timer"); err == nil {
		t.Fatal("nothing was refused")
	}
	n.heal()
	// What was refused and put back is looked at; the others are renewed as in any run.
	log, files := c.disk.Log(), []string{"apiserver.crt", "apiserver.key", "scheduler.conf"}
	if !soak {
		files = files[2:]
	}
	for i, o := range log.Ops {
		killed := i + 1
		if !slices.ContainsFunc(files, func(file string) bool { return strings.HasPrefix(o.Path, "/root/") && strings.Contains(o.Path, file) }) ||
			testing.Short() && o.Kind != disk.Write {
			continue
		}
		t.Run(log.State(killed, disk.KeepAll).Name(), func(t *testing.T) {
			c := c.again(t)
			c.disk.Load(log, killed)
			if err := c.node(t, c.disk.Dir, false).Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			deep := howDeep()
			deep.states, deep.nextRun = deep.plain, max(deep.nextRun, 16)
			c.check(t, c.disk.Log(), killed, deep)
		})
	}
}
