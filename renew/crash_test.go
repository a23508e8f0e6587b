//go:build linux

package renew_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
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
	// states says that of every so many states one is tried, in all but the first story.
	states int
	// kills says the same of those in which only the daemon was killed, in all stories.
	kills int
}

func howDeep() depth {
	switch {
	case soak:
		d := depth{slices.Clone(disk.Fixed), 1, 1, 1}
		for seed := range uint64(20) {
			d.losses = append(d.losses, disk.Random(seed))
		}
		return d
	case testing.Short():
		return depth{[]disk.Loss{disk.Strictest, disk.KeepAll, disk.ZeroLength}, 32, 12, 6}
	}
	return depth{append(slices.Clone(disk.Fixed), disk.Random(0)), 16, 1, 2}
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
				d.states = 1
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
			deep.states, deep.nextRun = 1, max(deep.nextRun, 16)
			c.check(t, c.disk.Log(), killed, deep)
		})
	}
}

// crash is a node on a disk whose power can be cut.
type crash struct {
	disk *disk.Disk
	made *fakeNode // what is to be on the disk
	old  map[string]string
	new  map[string]string // what kubeadm renews, when it is renewed
}

func newCrash(t *testing.T) *crash {
	t.Helper()
	c := &crash{made: newFakeNode(t)}
	c.old, c.new = contents(t, c.made.files.Root), map[string]string{}
	for _, name := range renewable {
		maps.Copy(c.new, contents(t, filepath.Join(c.made.dir, "new", name)))
	}
	c.writeKubeadm(t)
	c = c.again(t)
	if err := errors.Join(copyTree(c.made.files.Root, filepath.Join(c.disk.Dir, "root")),
		os.Mkdir(filepath.Join(c.disk.Dir, "state"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := c.node(t, c.disk.Dir, true).Remember(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// again is the same node with another, empty disk.
func (c *crash) again(t *testing.T) *crash {
	t.Helper()
	twin := *c
	dir := filepath.Join(workspace(t), "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if twin.disk, err = disk.Mount(dir); errors.Is(err, disk.ErrUnsupported) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := twin.disk.Close(); err != nil {
			t.Error(err)
		}
	})
	return &twin
}

// workspace is a directory in memory, if there is one: thousands of states are
// written out, and each is synced often.
func workspace(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "kubecertd-crash-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// writeKubeadm writes a program that renews as kubeadm does: in place, the key before
// the certificate, and without a sync. It works on the node beside it.
func (c *crash) writeKubeadm(t *testing.T) {
	t.Helper()
	n := c.made
	body := "if [ \"$1\" = version ]; then echo v1.36.3; exit; fi\nroot=${0%/*}/disk/root\n" + // also for what is done instead
		"if [ -e " + n.dir + "/instead-$3 ]; then . " + n.dir + "/instead-$3; exit; fi\ncase $3 in\n"
	for _, name := range renewable {
		files := slices.Sorted(maps.Keys(contents(t, filepath.Join(n.dir, "new", name))))
		slices.Reverse(files) // x.key, x.crt
		body += name + ")\n"
		for _, file := range files {
			body += fmt.Sprintf("cp %s $root/%s\n", filepath.Join(n.dir, "new", name, file), file)
		}
		body += ";;\n"
	}
	n.Kubeadm.Path = script(t, 0o755, body+"esac")
}

// node is the node as it starts from a directory, which is called "disk"; after a
// reboot, or only with a new daemon.
func (c *crash) node(t *testing.T, dir string, rebooted bool) *fakeNode {
	t.Helper()
	files, inner, made := *c.made.files, *c.made.Node, c.made
	files.Root = filepath.Join(dir, "root")
	n := &fakeNode{Node: &inner, t: t, files: &files, dir: made.dir, pods: maps.Clone(made.pods), unit: made.unit,
		dead: map[string]bool{}, sick: map[string]bool{}, kubeletHealthy: made.kubeletHealthy}
	inner.Locate = func() (pki.Layout, []error) { return pki.Locate(pki.Options{Root: files.Root}) }
	inner.Containers, inner.Kubelet, inner.Health, inner.Etcd, inner.Cluster = pods{n}, unit{n}, n, n, n
	inner.State = renew.State{Dir: filepath.Join(dir, "state")}
	inner.Kubeadm.Path = filepath.Join(filepath.Dir(dir), "kubeadm")
	if err := os.Symlink(made.Kubeadm.Path, inner.Kubeadm.Path); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	if rebooted {
		for name, pod := range n.pods {
			pod.Started = time.Now()
			n.pods[name] = pod
		}
		n.unit.Started = time.Now()
	}
	return n
}

// heal makes kubeadm do what it should from now on.
func (n *fakeNode) heal() {
	n.t.Helper()
	armed, err := filepath.Glob(filepath.Join(n.dir, "instead-*"))
	for _, file := range armed {
		err = errors.Join(err, os.Remove(file))
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// check starts the node on every state in which the power can have been cut.
func (c *crash) check(t *testing.T, log disk.Log, from int, deep depth) {
	t.Helper()
	type start struct {
		state disk.State
		run   bool
	}
	began, tried, work := time.Now(), 0, make(chan start)
	base := workspace(t)
	var workers sync.WaitGroup
	var mu sync.Mutex
	failures := map[string][]string{}
	for range 2 {
		workers.Go(func() {
			for w := range work {
				s := w.state
				dir := filepath.Join(base, fmt.Sprintf("%d-%s", s.Prefix, s.Loss))
				err := c.survives(t, s, dir, w.run)
				_ = os.RemoveAll(dir)
				mu.Lock()
				if tried++; err != nil {
					text := strings.ReplaceAll(err.Error(), dir, "")
					failures[text] = append(failures[text], s.Name())
				}
				mu.Unlock()
			}
		})
	}
	seen := map[string]bool{}
	all := 0
	for s := range log.States(from, deep.losses...) {
		if alive(s) && s.Prefix%deep.kills != 0 {
			continue
		}
		all++
		sum := s.Sum()
		if key := fmt.Sprintf("%x %t", sum, alive(s)); !seen[key] {
			seen[key] = true
			if all%deep.states == 0 {
				work <- start{s, sum[1]%deep.nextRun == 0}
			}
		}
	}
	close(work)
	workers.Wait()
	t.Logf("%d operations, %d states, %d of them different, %d tried in %s", len(log.Ops), all, len(seen), tried, time.Since(began).Round(time.Millisecond))
	for _, failure := range slices.Sorted(maps.Keys(failures)) {
		names := failures[failure]
		slices.Sort(names)
		t.Errorf("%s\n  in %d states, such as\n  %s", failure, len(names), strings.Join(names[:min(len(names), 4)], "\n  "))
	}
}

// alive says that only the daemon was killed.
func alive(s disk.State) bool { return s.Loss.String() == disk.KeepAll.String() }

// survives starts the daemon on what was left, lets it run again, and says what does
// not hold.
func (c *crash) survives(t *testing.T, s disk.State, dir string, run bool) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := s.Write(filepath.Join(dir, "disk")); err != nil {
		return err
	}
	if err := secret(filepath.Join(dir, "disk")); err != nil {
		return err
	}
	n := c.node(t, filepath.Join(dir, "disk"), !alive(s))
	// The daemon starts.
	if err := n.Recover(t.Context()); err != nil {
		return fmt.Errorf("Recover: %w", err)
	}
	if err := c.oldOrNew(t, n); err != nil {
		return fmt.Errorf("after the start: %w", err)
	}
	if !run {
		return nil
	}
	// It runs again, when that is due.
	n.Now = func() time.Time { return time.Now().Add(later) }
	if _, _, err := n.Act(context.WithoutCancel(t.Context()), renew.Wish{}, "start"); err != nil {
		return fmt.Errorf("the next run: %w", err)
	}
	want := maps.Clone(c.old)
	maps.Copy(want, c.new)
	if diff := cmp.Diff(keys(want), keys(contents(t, n.files.Root))); diff != "" {
		return fmt.Errorf("other files are there after the next run (-want +got):\n%s", diff)
	}
	for file, content := range contents(t, n.files.Root) {
		if content != want[file] {
			return fmt.Errorf("/%s is not what it should be after the next run", file)
		}
	}
	if plan := n.Look(t.Context(), renew.Wish{}).Plan; plan.Work() || len(plan.Blocked) > 0 {
		return fmt.Errorf("after the next run there is still something to do: %+v", plan)
	}
	stopped := map[string]int{}
	for _, step := range n.done() {
		if strings.HasPrefix(step, "stop ") || strings.HasPrefix(step, "restart ") {
			if stopped[step]++; stopped[step] > 1 {
				return fmt.Errorf("%s twice", step)
			}
		}
	}
	return n.inOrder()
}

// secret says which file with a private key others than root could read at that moment.
func secret(dir string) error {
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Mode().Perm()&0o077 == 0 {
			return err
		}
		content, err := os.ReadFile(file)
		if err == nil && (strings.Contains(string(content), "PRIVATE KEY") || strings.Contains(string(content), "client-key-data")) {
			err = fmt.Errorf("%s holds a key and has mode %s", file, info.Mode())
		}
		return err
	})
}

// oldOrNew says which certificate is neither as it was nor the new one, or which other
// file has changed.
func (c *crash) oldOrNew(t *testing.T, n *fakeNode) error {
	found := contents(t, n.files.Root)
	renewed := map[string]bool{}
	for _, name := range renewable {
		var old, fresh int
		files := contents(t, filepath.Join(c.made.dir, "new", name))
		for file := range files {
			renewed[file] = true
			switch found[file] {
			case c.old[file]:
				old++
			case c.new[file]:
				fresh++
			case "":
				return fmt.Errorf("%s: /%s is empty or gone", name, file)
			}
		}
		if max(old, fresh) != len(files) {
			return fmt.Errorf("%s is neither what it was nor the new one", name)
		}
	}
	for file, content := range c.old {
		if !renewed[file] && found[file] != content {
			return fmt.Errorf("/%s was not to be changed", file)
		}
	}
	return nil
}

// inOrder says what is wrong with what was recorded.
func (n *fakeNode) inOrder() error {
	runs, err := n.State.History()
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	for _, run := range runs {
		if run.Outcome == renew.Unfinished {
			return errors.New("a record has no end")
		}
	}
	if _, err := n.State.Snapshots(); err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	return nil
}

// contents are the regular files under a directory, by their path in it.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		found[name] = string(content)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

func keys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// copyTree copies files, links and times.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, inside)
		info, err := d.Info()
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Mkdir(target, info.Mode().Perm())
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			return errors.Join(err, os.Symlink(link, target))
		}
		content, err := os.ReadFile(path)
		return errors.Join(err, os.WriteFile(target, content, info.Mode().Perm()), os.Chtimes(target, info.ModTime(), info.ModTime()))
	})
}
