package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report/notify"
)

func newNotify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "Try who is told of events",
		Args:  knownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	test := &cobra.Command{
		Use:   "test [NAME...]",
		Short: "Tell each target of a test, and say what came back",
		Long: `Tell each target of the configuration, or those that are named, that this is a test,
whatever events it is told of otherwise. Each is tried once. The exit code is 1 if one of
them could not be told.`,
		Example: `  kubecertd notify test
  kubecertd notify test ops-channel`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := load(cmd)
			if err != nil {
				return err
			}
			return notifyTest(cmd, notifications(c), args)
		},
	}
	cmd.AddCommand(test)
	return cmd
}

func notifyTest(cmd *cobra.Command, s notify.Settings, only []string) error {
	var names []string
	for _, t := range s.Targets {
		names = append(names, t.Name)
	}
	if len(names) == 0 {
		return usageError{fmt.Errorf("nobody is told of anything: name a target in the configuration (notify), as docs/notifications.md says")}
	}
	for _, name := range only {
		if !slices.Contains(names, name) {
			return usageError{fmt.Errorf("%s: there is no such target: there are %s", name, strings.Join(names, ", "))}
		}
	}
	failed := false
	for _, t := range s.Targets {
		if len(only) > 0 && !slices.Contains(only, t.Name) {
			continue
		}
		said, err := t.Try(cmd.Context(), s.Node, clock())
		if err != nil {
			failed, said = true, "not told: "+err.Error()
		} else {
			said = strings.TrimSuffix("told: "+said, ": ")
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", t.Name, said); err != nil {
			return err
		}
	}
	if failed {
		return exitStatus(exitFailed)
	}
	return nil
}

// notifications are who is told of what, as configured.
func notifications(c configs.Config) notify.Settings {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	s := notify.Settings{Node: name}
	for _, t := range c.Notify {
		s.Targets = append(s.Targets, notify.Target(t))
	}
	return s
}

// templates refuses what no event can be written with, before there is one.
func templates(c configs.Config) error {
	s := notifications(c)
	for i, t := range s.Targets {
		if err := t.Check(s.Node); err != nil {
			return fmt.Errorf("notify[%d].template: %w", i, err)
		}
	}
	return nil
}

// reporters are all to whom the loop reports.
type reporters []interface {
	Looked(renew.Look)
	Ran(renew.Run)
}

// Looked tells each of a look.
func (all reporters) Looked(l renew.Look) {
	for _, r := range all {
		r.Looked(l)
	}
}

// Ran tells each of a run.
func (all reporters) Ran(run renew.Run) {
	for _, r := range all {
		r.Ran(run)
	}
}
