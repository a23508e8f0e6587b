//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/test/story"
)

const (
	// looksADay is how often the daemon looks without being woken (check.interval, 1h).
	looksADay = 24
	// lookTime is more than a look takes.
	lookTime = 3 * time.Second
	// countedLooks are made to see what one costs, as often as that.
	countedLooks = 10
	lookEvery    = 10 * time.Second
)

// idle is what the daemon costs when nothing is due.
type idle struct {
	Watched time.Duration
	Ready   time.Duration
	// Wakes are the times that a thread was woken (voluntary context switches).
	Wakes int64
	// Quiet is the CPU time of the time watched; Look that of one look; Day of a day of
	// both.
	Quiet, Look, Day time.Duration
	// Resident is the most that was seen of VmRSS, and Anonymous what of it is no page
	// of the program, in MiB.
	Resident, Anonymous float64
}

// idleDaemon watches the daemon when nothing is due.
func (b *bench) idleDaemon(ctx context.Context) (*idle, error) {
	node := b.node
	if err := node.WriteFile(story.ConfigFile, []byte("# of the benchmark\n"+story.OwnClock), 0o644); err != nil {
		return nil, err
	}
	if _, err := node.Run(ctx, "systemctl", "restart", "kubecertd"); err != nil {
		return nil, err
	}
	shown, err := node.Run(ctx, "systemctl", "show", "kubecertd", "--property=MainPID,ExecMainStartTimestampMonotonic,ActiveEnterTimestampMonotonic")
	if err != nil {
		return nil, err
	}
	properties, err := numbers(shown.Stdout, "=")
	if err != nil {
		return nil, err
	}
	i := &idle{Watched: b.idle, Ready: time.Duration(properties["ActiveEnterTimestampMonotonic"]-properties["ExecMainStartTimestampMonotonic"]) * time.Microsecond}
	pid := properties["MainPID"]
	// The first look ends in memory that is given back.
	if err := pause(ctx, lookTime); err != nil {
		return nil, err
	}
	if err := i.memory(ctx, b, pid); err != nil {
		return nil, err
	}
	cpu, wakes, err := b.used(ctx, pid)
	if err != nil {
		return nil, err
	}
	title := fmt.Sprintf("the daemon is left alone for %s", b.idle)
	if err := b.out.Do(title, b.idle, func() error { return pause(ctx, b.idle) }); err != nil {
		return nil, err
	}
	later, wakesLater, err := b.used(ctx, pid)
	if err != nil {
		return nil, err
	}
	i.Quiet, i.Wakes = later-cpu, wakesLater-wakes
	// What a look costs that nothing but the timer makes.
	often := fmt.Sprintf("# of the benchmark\n%scheck: {interval: %s}\n", story.OwnClock, lookEvery)
	if err := node.WriteFile(story.ConfigFile, []byte(often), 0o644); err != nil {
		return nil, err
	}
	if _, err := node.Run(ctx, "systemctl", "reload", "kubecertd"); err != nil {
		return nil, err
	}
	if err := pause(ctx, lookTime); err != nil { // it looks at once, and says what it has read
		return nil, err
	}
	if later, _, err = b.used(ctx, pid); err != nil {
		return nil, err
	}
	for range countedLooks {
		if err := pause(ctx, lookEvery); err != nil {
			return nil, err
		}
		if err := i.memory(ctx, b, pid); err != nil {
			return nil, err
		}
	}
	last, _, err := b.used(ctx, pid)
	if err != nil {
		return nil, err
	}
	i.Look = (last - later) / countedLooks
	i.Day = time.Duration(float64(i.Quiet)*float64(24*time.Hour)/float64(i.Watched)) + looksADay*i.Look
	b.out.Printf("idle: %.1f MiB resident, woken %d times in %s, %s of CPU, %s for a look, %s a day",
		i.Resident, i.Wakes, i.Watched, i.Quiet, i.Look, i.Day)
	_, err = node.Run(ctx, "systemctl", "stop", "kubecertd")
	return i, err
}

// memory keeps the most that was resident.
func (i *idle) memory(ctx context.Context, b *bench, pid int64) error {
	status, err := b.node.Run(ctx, "grep", "-E", "^(VmRSS|RssAnon):", fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	kib, err := numbers(status.Stdout, ":")
	if err != nil {
		return err
	}
	i.Resident = max(i.Resident, float64(kib["VmRSS"])/1024)
	i.Anonymous = max(i.Anonymous, float64(kib["RssAnon"])/1024)
	return nil
}

// used is the CPU time that a process has used, from the scheduler's own account in
// nanoseconds, and how often its threads were woken (proc(5): schedstat, and
// voluntary_ctxt_switches of status, of each thread).
func (b *bench) used(ctx context.Context, pid int64) (cpu time.Duration, wakes int64, err error) {
	result, err := b.node.Run(ctx, "sh", "-c", fmt.Sprintf(
		"cat /proc/%d/task/*/schedstat | cut -d' ' -f1 | sed 's/^/cpu /'; grep -h ^voluntary /proc/%d/task/*/status | cut -f2 | sed 's/^/wakes /'", pid, pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(result.Stdout) {
		what, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("account of process %d: %q: %w", pid, line, err)
		}
		if what == "cpu" {
			cpu += time.Duration(n)
		} else {
			wakes += n
		}
	}
	return cpu, wakes, nil
}

// numbers reads lines of a name and a number, whose unit is dropped.
func numbers(text, separator string) (map[string]int64, error) {
	all := map[string]int64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, separator)
		fields := strings.Fields(value)
		if len(fields) == 0 {
			return nil, fmt.Errorf("%q holds no number", line)
		}
		n, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		all[name] = n
	}
	return all, nil
}
