package renew_test

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// emptyHost is a host without certificates, whose looks are counted.
type emptyHost struct {
	start time.Time
	looks []time.Duration
}

func (h *emptyHost) List(context.Context) ([]renew.Component, error) {
	h.looks = append(h.looks, time.Since(h.start))
	return nil, nil
}

func (*emptyHost) Stop(context.Context, renew.Component, time.Duration) (renew.Stopped, error) {
	return renew.Stopped{}, errors.New("nothing may be stopped here")
}

func (*emptyHost) AwaitSuccessor(context.Context, renew.Component, func(string)) (renew.Component, error) {
	return renew.Component{}, errors.New("nothing may be awaited here")
}

func (*emptyHost) StopPod(context.Context, renew.Component) error {
	return errors.New("nothing may be stopped here")
}

func (*emptyHost) Said(context.Context, renew.Component) (string, error) { return "", nil }

func (*emptyHost) State(context.Context) (renew.Component, error) {
	return renew.Component{Name: renew.Kubelet, Running: true}, nil
}
func (*emptyHost) Healthy(context.Context) error { return nil }
func (*emptyHost) Restart(context.Context) error { return errors.New("nothing may be restarted here") }

// manager records what the service manager is told.
type manager struct {
	said     []string
	pings    atomic.Int64
	interval time.Duration
}

func (m *manager) Ready()        { m.said = append(m.said, "ready") }
func (m *manager) Status(string) { m.said = append(m.said, "status") }
func (m *manager) Watchdog()     { m.pings.Add(1) }
func (m *manager) Stopping()     { m.said = append(m.said, "stopping") }
func (m *manager) WatchdogInterval() (time.Duration, bool) {
	return m.interval, m.interval > 0
}

// loop runs a loop on an empty host in a bubble of its own time, and returns it
// stopped.
func loop(t *testing.T, m *manager, change func(*renew.Loop), meanwhile func()) *emptyHost {
	t.Helper()
	host := &emptyHost{start: time.Now()}
	l := &renew.Loop{
		Node: &renew.Node{
			Locate:     func() (pki.Layout, []error) { return pki.Layout{}, nil },
			Containers: host, Kubelet: host, Log: zap.NewNop(), Now: time.Now,
			Policy: shipped, State: renew.State{Dir: t.TempDir()},
		},
		Interval: 12 * time.Hour, Retry: time.Minute, Notify: m,
	}
	change(l)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	meanwhile()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the loop ended with %v", err)
	}
	return host
}

func TestLoopTimerAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &manager{}
		host := loop(t, m, func(*renew.Loop) {}, func() { time.Sleep(25 * time.Hour) })
		if diff := cmp.Diff([]time.Duration{0, 12 * time.Hour, 24 * time.Hour}, host.looks); diff != "" {
			t.Errorf("looks (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"status", "ready", "status", "status", "stopping"}, m.said); diff != "" {
			t.Errorf("told the service manager (-want +got):\n%s", diff)
		}
	})
}

// collector is a service manager that looks, whenever it gets a sign of life between two
// looks, whether Go's collector rests.
type collector struct {
	manager
	percents []int
}

func (c *collector) Watchdog() {
	percent := debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	c.percents = append(c.percents, percent)
}

// Nothing but the sign of life happens between two looks, and the collector is back for
// each of them.
func TestCollectorRestsBetweenLooks(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	synctest.Test(t, func(t *testing.T) {
		c := &collector{manager: manager{interval: 10 * time.Hour}}
		loop(t, &c.manager, func(l *renew.Loop) { l.Notify = c }, func() { time.Sleep(13 * time.Hour) })
		// The first look, two signs of life, the second look.
		if diff := cmp.Diff([]int{100, -1, -1, 100}, c.percents); diff != "" {
			t.Errorf("percentages (-want +got):\n%s", diff)
		}
	})
	if after := debug.SetGCPercent(100); after != 100 {
		t.Errorf("the loop has left it at %d", after)
	}
}

// away is an API server that cannot be reached.
type away struct{}

func (away) Configuration(context.Context) ([]byte, error) { return nil, errors.New("away") }

// A clock that is behind is set some day; nothing wakes the loop then.
func TestLoopWhileTheClockIsBehind(t *testing.T) {
	files := pkitest.New(t, time.Now()) // a bubble begins long before, in 2000
	synctest.Test(t, func(t *testing.T) {
		host := loop(t, &manager{}, func(l *renew.Loop) {
			l.Node.Locate = func() (pki.Layout, []error) { return pki.Locate(pki.Options{Root: files.Root}) }
			l.Node.Cluster = away{}
		}, func() { time.Sleep(150 * time.Second) })
		if diff := cmp.Diff([]time.Duration{0, time.Minute, 2 * time.Minute}, host.looks); diff != "" {
			t.Errorf("looks (-want +got):\n%s", diff)
		}
	})
}

// Components that cannot be seen may be stale.
func TestLoopWhileTheContainersCannotBeSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := pkitest.New(t, time.Now())
		looks := 0
		loop(t, &manager{}, func(l *renew.Loop) {
			l.Node.Locate = func() (pki.Layout, []error) { return pki.Locate(pki.Options{Root: files.Root}) }
			l.Node.Cluster, l.Node.Containers = away{}, unseen{&emptyHost{}, &looks}
		}, func() { time.Sleep(150 * time.Second) })
		if looks != 3 {
			t.Errorf("%d looks, want one a minute", looks)
		}
	})
}

// unseen is a container runtime that does not answer.
type unseen struct {
	*emptyHost
	looks *int
}

func (u unseen) List(context.Context) ([]renew.Component, error) {
	*u.looks++
	return nil, errors.New("containerd is not answering")
}

func TestLoopWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wake := make(chan string)
		host := loop(t, &manager{}, func(l *renew.Loop) { l.Wake = wake }, func() {
			time.Sleep(time.Hour)
			wake <- "apiserver.crt changed"
			time.Sleep(12*time.Hour + time.Minute)
		})
		if diff := cmp.Diff([]time.Duration{0, time.Hour, 13 * time.Hour}, host.looks); diff != "" {
			t.Errorf("looks (-want +got):\n%s", diff)
		}
	})
}

// remembering is a cluster that notes when it is asked for its configuration, and is away
// after some time.
type remembering struct {
	start time.Time
	at    *[]time.Duration
	away  time.Duration
}

func (a remembering) Configuration(context.Context) ([]byte, error) {
	*a.at = append(*a.at, time.Since(a.start))
	if time.Since(a.start) > a.away {
		return nil, errors.New("away")
	}
	return []byte("kind: ClusterConfiguration\nkubernetesVersion: v1.36.3\n"), nil
}

// The cluster is asked for its configuration at the start and when something has changed,
// otherwise every six hours; and at each look for as long as it does not answer.
func TestLoopRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := pkitest.New(t, time.Now())
		wake := make(chan string)
		var at []time.Duration
		loop(t, &manager{}, func(l *renew.Loop) {
			l.Node.Locate = func() (pki.Layout, []error) { return pki.Locate(pki.Options{Root: files.Root}) }
			l.Node.Cluster = remembering{time.Now(), &at, 12*time.Hour + 30*time.Minute}
			l.Interval, l.Wake = time.Hour, wake
		}, func() {
			time.Sleep(7*time.Hour + 30*time.Minute)
			wake <- "kube-apiserver.yaml changed"
			time.Sleep(8 * time.Hour)
		})
		want := []time.Duration{0, 6 * time.Hour, 7*time.Hour + 30*time.Minute, 13*time.Hour + 30*time.Minute, 14*time.Hour + 30*time.Minute, 15*time.Hour + 30*time.Minute}
		if diff := cmp.Diff(want[:len(at)], at); diff != "" || len(at) < 5 {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
	})
}

func TestLoopReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangup := make(chan os.Signal)
		host := loop(t, &manager{}, func(l *renew.Loop) {
			l.Hangup = hangup
			l.Reload = func(l *renew.Loop) { l.Interval = time.Hour }
		}, func() {
			time.Sleep(30 * time.Minute)
			hangup <- syscall.SIGHUP
			time.Sleep(61 * time.Minute)
		})
		if diff := cmp.Diff([]time.Duration{0, 30 * time.Minute, 90 * time.Minute}, host.looks); diff != "" {
			t.Errorf("looks (-want +got):\n%s", diff)
		}
	})
}

func TestLoopWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &manager{interval: 3 * time.Minute}
		loop(t, m, func(*renew.Loop) {}, func() { time.Sleep(time.Hour) })
		// Twice an interval, as sd_watchdog_enabled(3) recommends, besides the looks' own.
		if pings := m.pings.Load(); pings < 39 || pings > 45 {
			t.Errorf("%d pings in an hour, want one each 90 seconds", pings)
		}
	})
}

// The writes of a failed run must not wake it into the next one.
func TestLoopBrake(t *testing.T) {
	n := newFakeNode(t)
	n.instead("admin.conf", "echo CA key not found >&2; exit 1")
	n.only("admin.conf")
	before := len(n.calls())
	wake := make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	l := &renew.Loop{Node: n.Node, Interval: 12 * time.Hour, Retry: time.Hour, Notify: &manager{}, Wake: wake}
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	for range 3 {
		wake <- "admin.conf changed" // taken after the run has failed
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if tries := len(n.calls()) - before; tries != 1 {
		t.Errorf("kubeadm was tried %d times, want once", tries)
	}
}
