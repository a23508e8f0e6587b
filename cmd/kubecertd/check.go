package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
)

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say in one line and by the exit code how this node is, for monitoring systems",
		Long: `Say in one line of at most 80 characters how this node's certificates are: the worst
thing first, and which certificate ends next. It is what status sees, and whether the
daemon runs; nothing is changed. 'kubecertd doctor' says all of it.

The exit codes are those of Nagios, which monit and others understand as well: 0 ok,
1 warning, 2 critical, 3 unknown, also when the look takes longer than --timeout.

node-problem-detector counts otherwise, and --npd makes it do so: 0 for ok, 1 for a
problem, which is a warning or worse, and 3, like any other, for unknown. Give its
custom plugin a timeout that is longer than --timeout.`,
		Example: `  kubecertd check
  kubecertd check --npd             # for a custom plugin of node-problem-detector
  kubecertd check --timeout 20s
  kubecertd check --disk            # files only: no port, socket or process is asked`,
		Args: cobra.NoArgs,
	}
	disk := cmd.Flags().Bool("disk", false, "look at files only")
	npd := cmd.Flags().Bool("npd", false, "exit as node-problem-detector expects: 0 ok, 1 problem, 3 unknown")
	timeout := cmd.Flags().String("timeout", "8s", "how long it may take; NRPE waits for 10s")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		limit, err := configs.ParseDuration(*timeout)
		if err != nil || limit <= 0 {
			return usageError{fmt.Errorf("--timeout %q: not a time to wait, such as 8s or 1m", *timeout)}
		}
		level, line := check(cmd, limit, *disk)
		fmt.Fprintln(cmd.OutOrStdout(), line)
		code := int(level)
		if *npd {
			code = level.NPD()
		}
		if code != 0 {
			return exitStatus(code)
		}
		return nil
	}
	return cmd
}

// check is what a look finds, or why there was none: whoever asks reads stdout alone.
func check(cmd *cobra.Command, limit time.Duration, disk bool) (report.Level, string) {
	c, err := load(cmd)
	if err != nil {
		return report.CheckUnknown(err.Error())
	}
	if err := requireRoot("check"); err != nil {
		return report.CheckUnknown(err.Error())
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), limit)
	defer cancel()
	return within(ctx, limit, func() (report.Level, string) {
		n := newNode(c, nil)
		defer n.close()
		e := n.Glance(ctx, disk)
		if cut := ctx.Err(); cut != nil {
			return unanswered(ctx, limit)
		}
		return report.Check(e.Look, renew.Findings(e, n.Policy))
	})
}

// within gives up a look that does not return in time: a file system that hangs must not
// hang the monitoring with it. What is left of it ends with the process.
func within(ctx context.Context, limit time.Duration, look func() (report.Level, string)) (report.Level, string) {
	type answer struct {
		level report.Level
		line  string
	}
	done := make(chan answer, 1) // nobody may be left to receive
	go func() {
		level, line := look()
		done <- answer{level, line}
	}()
	select {
	case a := <-done:
		return a.level, a.line
	case <-ctx.Done():
		return unanswered(ctx, limit)
	}
}

// unanswered is the check that was not finished.
func unanswered(ctx context.Context, limit time.Duration) (report.Level, string) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return report.CheckUnknown(fmt.Sprintf("the node could not be looked at within %s: kubecertd doctor", limit))
	}
	return report.CheckUnknown("told to stop before the look was finished")
}
