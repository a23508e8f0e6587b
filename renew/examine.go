package renew

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Examination is a look together with everything else that says how well this node is
// looked after. Findings is a pure function of it.
type Examination struct {
	Look
	// Rehearsal are the gates that would be closed if everything were to be renewed now.
	Rehearsal []Gate
	// Unhealthy is why the kubelet's health endpoint does not answer well.
	Unhealthy error
	// Asked is why the cluster could not be asked for its configuration, Remembered why
	// there is none that was remembered.
	Asked, Remembered error
	Daemon            Daemon
	// Runs are the recorded runs, oldest first, and Records what of them cannot be read.
	Runs    []Run
	Records error
	// UnderWay is the process of the run that is under way; empty when none is.
	UnderWay string
	// Snapshots is how many whole ones there are, and Damaged what is wrong with others.
	Snapshots int
	Damaged   error
	// Disk says that only files were looked at, so that nothing is known about what runs.
	Disk bool
}

// Daemon is whether the daemon runs on this node.
type Daemon struct {
	// Known says that it could be told.
	Known   bool
	Running bool
	// Detail says how its unit is, in words.
	Detail string
}

// examineDeadline bounds all that an examination asks besides the look.
const examineDeadline = 10 * time.Second

// Examine looks at everything, and writes nothing. Whatever is broken, it ends within
// seconds: each question has its deadline, and they are asked at the same time.
func (n *Node) Examine(ctx context.Context) Examination {
	n.ReadOnly = true
	var e Examination
	var questions sync.WaitGroup
	asking, cancel := context.WithTimeout(ctx, examineDeadline)
	defer cancel()
	questions.Go(func() { e.Unhealthy = n.Kubelet.Healthy(asking) })
	questions.Go(func() { _, e.Asked = n.Cluster.Configuration(asking) })
	questions.Go(func() { e.Daemon = n.daemon(asking) })
	questions.Go(func() {
		e.Runs, e.Records = n.State.History()
		e.UnderWay, _ = n.State.holder("run")
		whole, damaged := n.State.Snapshots()
		e.Snapshots, e.Damaged = len(whole), damaged
	})
	e.Look = n.Look(asking, Wish{})
	layout, _ := n.Locate()
	_, e.Remembered = n.remembered(layout.Read(e.Observation.At))
	if all := Decide(e.Observation, n.Policy, Wish{All: true}); all.certificates() {
		n.gate(asking, e.Observation, &all)
		e.Rehearsal = all.Blocked
	}
	questions.Wait()
	return e
}

// daemon says whether another process is the node's daemon.
func (n *Node) daemon(ctx context.Context) Daemon {
	if n.Service == nil {
		return Daemon{}
	}
	pid, err := n.State.holder("daemon")
	detail, asked := n.Service.Service(ctx)
	switch {
	case pid != "":
		return Daemon{Known: true, Running: true, Detail: "process " + pid}
	case err != nil:
		return Daemon{Known: true, Detail: err.Error()}
	case asked != nil:
		return Daemon{Known: true, Detail: "nobody holds its lock, and " + asked.Error()}
	default:
		return Daemon{Known: true, Detail: detail}
	}
}

// holder is the process that has a lock of this node, as it wrote itself into it; empty
// when nobody has it. Unlike taking the lock, asking leaves no trace.
func (s State) holder(what string) (pid string, err error) {
	f, err := os.Open(s.path(what + ".lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("lock of the %s: %w", what, err)
	}
	defer func() { _ = f.Close() }()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil {
		return "", syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return "", fmt.Errorf("lock of the %s: %s: %w", what, f.Name(), err)
	}
	content, _ := io.ReadAll(io.LimitReader(f, 32))
	if pid = strings.TrimSpace(string(content)); pid == "" {
		pid = unknownHolder
	}
	return pid, nil
}
