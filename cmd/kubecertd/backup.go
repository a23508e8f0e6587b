package main

import (
	"errors"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
)

func newBackup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "List, show and restore the snapshots that runs have taken",
		Long: `List, show and restore the snapshots that runs have taken before they changed a
certificate. They lie under the state directory, readable by root alone, keys included.`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBackupList(), newBackupShow(), newBackupRestore())
	return cmd
}

func newBackupList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the snapshots, newest first",
		Long:    `List the snapshots, newest first. Each is checked; one that is damaged is named.`,
		Example: `  kubecertd backup list`,
		Args:    cobra.NoArgs,
	}
	outputFlag(cmd, "table", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load(cmd)
		if err != nil {
			return err
		}
		list, damaged := renew.State{Dir: c.Paths.State}.Snapshots()
		if format := output(cmd); format != "table" {
			if list == nil {
				list = []renew.Snapshot{}
			}
			return errors.Join(report.Write(cmd.OutOrStdout(), format, list), damaged)
		}
		return errors.Join(report.WriteSnapshots(cmd.OutOrStdout(), list), damaged)
	}
	return cmd
}

func newBackupShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "show ID",
		Short:             "Show what a snapshot holds, beside what is there now",
		Example:           `  kubecertd backup show 20260301T120000.000Z-1a2b3c`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeSnapshots,
	}
	outputFlag(cmd, "table", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := load(cmd)
		if err != nil {
			return err
		}
		node := newNode(c, nil)
		defer node.close()
		snapshot, err := node.State.Snapshot(args[0])
		if err != nil {
			return err
		}
		differences := node.Compare(snapshot)
		if format := output(cmd); format != "table" {
			return report.Write(cmd.OutOrStdout(), format, differences)
		}
		return report.WriteDifferences(cmd.OutOrStdout(), differences, node.Now())
	}
	return cmd
}

func newBackupRestore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore ID",
		Short: "Put the certificates of a snapshot back, and restart what holds others",
		Long: `Put the certificates of a snapshot back, as a run like any other: what is there now is
kept in a snapshot of its own, the same gates must be open, what holds others is
restarted, and what it has loaded is proven. Nothing is changed when a certificate of the
snapshot has expired or is not its CA's any more.

What is restored may be due at once, and is then renewed by the daemon. To prevent that:
kubecertd pause.`,
		Example: `  kubecertd backup restore 20260301T120000.000Z-1a2b3c --dry-run
  kubecertd backup restore 20260301T120000.000Z-1a2b3c`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeSnapshots,
	}
	dryRun := cmd.Flags().Bool("dry-run", false, "check everything, show what would change, and change nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := load(cmd)
		if err != nil {
			return err
		}
		if err := errors.Join(requireRoot("backup restore"), requireHost(c)); err != nil {
			return usageError{err}
		}
		log, stop, err := newPersonLogger(c.Log)
		if err != nil {
			return err
		}
		defer stop()
		// A connection that is lost, or a pager that was left, must not end a restart in its middle.
		signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
		node := newNode(c, log)
		defer node.close()
		began := time.Now()
		id, changes, err := node.Restore(cmd.Context(), args[0], *dryRun)
		stop()
		if len(changes) > 0 && id == "" {
			if err := report.WriteDifferences(cmd.OutOrStdout(), changes, node.Now()); err != nil {
				return err
			}
		}
		switch {
		case err != nil:
			return err
		case len(changes) == 0:
			fmt.Fprintln(cmd.OutOrStdout(), "Everything is as in the snapshot. Nothing to do.")
		case *dryRun:
			fmt.Fprintln(cmd.OutOrStdout(), "Nothing was changed (--dry-run).")
		default:
			fmt.Fprintf(cmd.OutOrStdout(), "Restored %d, restarted and proven what holds them, in %s. See 'kubecertd history %s'.\n",
				len(changes), time.Since(began).Round(100*time.Millisecond), id)
		}
		return nil
	}
	return cmd
}
