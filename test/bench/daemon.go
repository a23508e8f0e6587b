//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

// daemon measures the daemon when nothing is due.
func daemon(ctx context.Context, node *controlplane.Node, idle time.Duration) error {
	if _, err := node.Run(ctx, "systemctl", "start", "kubecertd"); err != nil {
		return err
	}
	shown, err := node.Run(ctx, "systemctl", "show", "kubecertd", "--property=MainPID,ExecMainStartTimestampMonotonic,ActiveEnterTimestampMonotonic")
	if err != nil {
		return err
	}
	properties := map[string]int64{}
	for line := range strings.Lines(shown.Stdout) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if properties[key], err = strconv.ParseInt(value, 10, 64); err != nil {
			return fmt.Errorf("systemctl show: %s: %w", line, err)
		}
	}
	pid := properties["MainPID"]
	ready := time.Duration(properties["ActiveEnterTimestampMonotonic"]-properties["ExecMainStartTimestampMonotonic"]) * time.Microsecond
	first, err := cpu(node, pid)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(idle):
	}
	last, err := cpu(node, pid)
	if err != nil {
		return err
	}
	memory, err := node.Run(ctx, "grep", "-E", "^(VmRSS|RssAnon)", fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	fmt.Printf("\nthe daemon when nothing is due\n")
	fmt.Printf("  ready after        %v\n", ready)
	fmt.Printf("  resident           %s\n", strings.Join(strings.Fields(memory.Stdout), " "))
	fmt.Printf("  CPU, first look    %v\n", first)
	fmt.Printf("  CPU, next %-8v %v\n", idle, last-first)
	_, err = node.Run(ctx, "systemctl", "stop", "kubecertd")
	return err
}

// cpu is the CPU time that a process has used, from the scheduler's own account in
// nanoseconds (proc(5), /proc/PID/schedstat, of each thread).
func cpu(node *controlplane.Node, pid int64) (time.Duration, error) {
	result, err := node.Run(context.Background(), "sh", "-c", fmt.Sprintf("cat /proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for line := range strings.Lines(result.Stdout) {
		ns, err := strconv.ParseInt(strings.Fields(line)[0], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("schedstat %q: %w", line, err)
		}
		total += time.Duration(ns)
	}
	return total, nil
}
