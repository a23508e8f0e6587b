//go:build linux

package renew_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/lab/disk"
)

// TestPowerCutDuringARepair cuts the power while damaged files are restored or made anew:
// what was not damaged is as it was, and after the next run everything is whole.
func TestPowerCutDuringARepair(t *testing.T) {
	damaged := []string{"etc/kubernetes/pki/apiserver.crt", "etc/kubernetes/pki/apiserver.key", "etc/kubernetes/scheduler.conf"}
	for _, kept := range []bool{true, false} {
		t.Run(map[bool]string{true: "restored", false: "made anew"}[kept], func(t *testing.T) {
			c := newCrash(t)
			c.made.Policy.Before = 24 * time.Hour // nothing is due
			c.made.good("apiserver")
			for _, name := range []string{"apiserver", "scheduler.conf"} {
				maps.Copy(c.new, contents(t, filepath.Join(c.made.dir, "new", name)))
			}
			c.made.Kubeadm.Path = script(t, 0o755, `if [ "$1" = version ]; then echo v1.36.3; exit; fi
case $3 in
certs) name=$4 dir=$(sed -n 's/^certificatesDir: //p' "$6"); root=${dir%/etc/kubernetes/pki} ;;
kubeconfig) name=$4.conf root=${8%/etc/kubernetes} ;;
esac
cp -r `+c.made.dir+`/new/$name/. "$root"`)
			c = c.again(t)
			if err := errors.Join(copyTree(c.made.files.Root, filepath.Join(c.disk.Dir, "root")), os.Mkdir(filepath.Join(c.disk.Dir, "state"), 0o700)); err != nil {
				t.Fatal(err)
			}
			n := c.node(t, c.disk.Dir, true)
			n.mustDo(n.Remember(t.Context()))
			want := maps.Clone(c.old)
			if kept {
				n.mustDo(n.Keep(n.Observe(t.Context(), n.Now())))
			} else {
				for _, path := range damaged {
					want[path] = c.new[path]
				}
				delete(want, damaged[2]) // kubeadm's, and written again with what is added to it
			}
			both(empty(apiserverCertificate, schedulerConf), remove(apiserverKey))(n)
			c.disk.Sync()
			before := len(c.disk.Log().Ops)
			if _, _, err := n.Act(t.Context(), renew.Wish{}, "file"); err != nil {
				t.Fatal(err)
			}
			log, tried := c.disk.Log(), 0
			base := workspace(t)
			for s := range log.States(before, disk.Strictest, disk.KeepAll, disk.ZeroLength) {
				if tried++; testing.Short() && tried%24 != 0 || !soak && tried%4 != 0 {
					continue
				}
				if err := c.repairs(t, s, filepath.Join(base, fmt.Sprint(tried)), damaged, want); err != nil {
					t.Errorf("%s: %v", s.Name(), err)
				}
			}
			t.Logf("%d states", tried)
		})
	}
}

// repairs starts the daemon on what was left, and says what does not hold.
func (c *crash) repairs(t *testing.T, s disk.State, dir string, damaged []string, want map[string]string) error {
	if err := errors.Join(os.Mkdir(dir, 0o700), s.Write(filepath.Join(dir, "disk")), secret(filepath.Join(dir, "disk"))); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	n := c.node(t, filepath.Join(dir, "disk"), !alive(s))
	if err := n.Recover(t.Context()); err != nil {
		return fmt.Errorf("Recover: %w", err)
	}
	found := contents(t, n.files.Root)
	for path, content := range c.old {
		if found[path] != content && path != damaged[0] && path != damaged[1] && path != damaged[2] {
			return fmt.Errorf("/%s was not damaged, and has changed", path)
		}
	}
	n.later(pkitest.Day / 4)
	if _, _, err := n.Act(context.WithoutCancel(t.Context()), renew.Wish{}, "start"); err != nil {
		return fmt.Errorf("the next run: %w", err)
	}
	found = contents(t, n.files.Root)
	for path, content := range want {
		if found[path] != content {
			return fmt.Errorf("/%s is not what it should be after the next run", path)
		}
	}
	if plan := n.Look(t.Context(), renew.Wish{}).Plan; plan.Work() || len(plan.Blocked) > 0 {
		return fmt.Errorf("after the next run there is still something to do: %+v", plan)
	}
	if _, err := os.Stat(n.State.Dir + "/workshop"); err == nil {
		return errors.New("the workshop is still there")
	}
	return n.inOrder()
}
