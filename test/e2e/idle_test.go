//go:build linux

package e2e_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/story"
)

// Where nothing is due, nothing is touched, however often the daemon looks.
func TestNothingDue(t *testing.T) {
	const interval, looks = time.Second, 5
	n := onNode(t)
	n.Configure(t, fmt.Sprintf("check: {interval: %s}\nlog: {level: debug}\n", interval))
	before := n.Observe(t)
	n.Start(t)
	story.Eventually(t, (looks+10)*interval, func() error {
		if seen := strings.Count(story.Said(n.Events(t, "")), "looked, nothing new"); seen < looks {
			return fmt.Errorf("%d further looks, want %d", seen, looks)
		}
		return nil
	})
	u := n.Unit(t, "kubecertd")
	n.Untouched(t, before)

	if entries := n.Events(t, renew.EventLooked); len(entries) != 1 {
		t.Errorf("that nothing is due is said %d times, want once:\n%s", len(entries), story.Said(entries))
	}
	if err := story.Contains(story.Said(n.Events(t, renew.EventLooked)), "nothing due", "becomes due"); err != nil {
		t.Error(err)
	}
	if runs := n.History(t); len(runs) != 0 {
		t.Errorf("runs: %+v", runs)
	}
	// The first look has kept what is there, and the others found nothing new.
	if kept := len(n.Events(t, renew.EventKept)); kept > 1 {
		t.Errorf("%d snapshots were taken, want one at most", kept)
	}
	var snapshots []renew.Snapshot
	if err := json.Unmarshal([]byte(n.MustRun(t, "kubecertd", "backup", "list", "--output=json")), &snapshots); err != nil || len(snapshots) == 0 {
		t.Errorf("%d snapshots of what is on disk (%v)", len(snapshots), err)
	}

	t.Logf("READY %s after the start of the process", n.readyAfter(t))
	ns, err := strconv.ParseInt(u["CPUUsageNSec"], 10, 64)
	if err != nil {
		// Without CPU accounting systemd does not know; the process does.
		t.Logf("systemd says CPUUsageNSec=%s", u["CPUUsageNSec"])
		ns = n.processTime(t, u["MainPID"]).Nanoseconds()
	}
	t.Logf("CPU time from the start to after %d looks: %s; %s", looks, time.Duration(ns).Round(time.Millisecond),
		strings.Join(strings.Fields(n.MustRun(t, "grep", "-E", "^(VmHWM|VmRSS|RssAnon)", "/proc/"+u["MainPID"]+"/status")), " "))
}

// readyAfter is how long after its process had started the daemon said READY.
func (n *node) readyAfter(t *testing.T) time.Duration {
	t.Helper()
	stamps := map[string]int64{}
	for line := range strings.Lines(n.MustRun(t, "systemctl", "show", "kubecertd", "--property=ExecMainStartTimestampMonotonic,ActiveEnterTimestampMonotonic")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		us, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		stamps[key] = us
	}
	return time.Duration(stamps["ActiveEnterTimestampMonotonic"]-stamps["ExecMainStartTimestampMonotonic"]) * time.Microsecond
}

// processTime is what a process has used, from the scheduler's account (proc(5),
// /proc/PID/schedstat) of each of its threads.
func (n *node) processTime(t *testing.T, pid string) time.Duration {
	t.Helper()
	var total time.Duration
	for line := range strings.Lines(n.MustRun(t, "sh", "-c", "cat /proc/"+pid+"/task/*/schedstat")) {
		ns, err := strconv.ParseInt(strings.Fields(line)[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		total += time.Duration(ns)
	}
	return total
}
