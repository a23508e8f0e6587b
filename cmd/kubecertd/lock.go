package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/report"
)

func newLock() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lock",
		Short: "Show whose turn it is among the control-plane nodes, or give it back",
		Long: `Control-plane nodes are worked on one at a time. Whose turn it is stands in etcd and in
Lease kube-system/kubecertd-turn. A node whose run has failed keeps the turn until it is
repaired, so that no other breaks the same way.`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLockStatus(), newLockRelease())
	return cmd
}

func newLockStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show who holds the turn, since when, what for, and whether it seems to be gone",
		Example: `  kubecertd lock status
  kubecertd lock status -o json | jq -r .holder`,
		Args: cobra.NoArgs,
	}
	outputFlag(cmd, "text", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load(cmd)
		if err != nil {
			return err
		}
		if err := requireRoot("lock status"); err != nil {
			return err
		}
		node := newNode(c, nil)
		defer node.close()
		status := node.TurnStatus(cmd.Context())
		if format := output(cmd); format != "text" {
			err = report.Write(cmd.OutOrStdout(), format, status)
		} else {
			report.WriteTurn(cmd.OutOrStdout(), status)
		}
		if err == nil && status.Error != "" {
			err = errors.New(status.Error)
		}
		return err
	}
	return cmd
}

func newLockRelease() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "release [HOLDER]",
		Short: "Give the turn back for a node that cannot, so that the others go on",
		Long: `Give the turn back for a node that cannot do it itself, so that the others go on. Look
first whether the node is at work: what it is about to stop would then be stopped while
another node's is down. The holder has to be named, as 'kubecertd lock status' shows it;
--force releases whoever holds it, and what nobody can read.`,
		Example: `  kubecertd lock release cp2
  kubecertd lock release --force`,
		Args: cobra.MaximumNArgs(1),
	}
	force := cmd.Flags().Bool("force", false, "release it whoever holds it")
	outputFlag(cmd, "text", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 1) == *force {
			return usageError{errors.New("name the holder, or use --force: see 'kubecertd lock status'")}
		}
		c, err := load(cmd)
		if err != nil {
			return err
		}
		if err := requireRoot("lock release"); err != nil {
			return err
		}
		if err := requireHost(c); err != nil {
			return err
		}
		node := newNode(c, nil)
		defer node.close()
		holder := ""
		if len(args) == 1 {
			holder = oneLine(args[0])
		}
		was, err := node.ReleaseTurn(cmd.Context(), holder, *force)
		if err != nil {
			return err
		}
		status := node.TurnStatus(cmd.Context())
		if format := output(cmd); format != "text" {
			return report.Write(cmd.OutOrStdout(), format, status)
		}
		if was.Holder == "" && was.Unknown == "" {
			fmt.Fprintln(cmd.OutOrStdout(), "There was nothing to release.")
			return nil
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Released. Before, %s.\n", was)
		report.WriteTurn(cmd.OutOrStdout(), status)
		return nil
	}
	return cmd
}
