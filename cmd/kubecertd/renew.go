package main

import (
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/renew"
)

func newRenew() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "renew [NAME…]",
		Short: "Renew what is due now, or the certificates named, and restart what holds them",
		Long: `Carry out the plan once, as the daemon would: renew, restart what holds the old
certificates, and prove that the new ones are loaded. It shares the daemon's lock,
so both can be there at the same time.

Without names it does what is due. Names and --all renew what is not due yet.`,
		Example: `  kubecertd renew                       # what is due
  kubecertd renew --all --dry-run       # what would a full renewal do?
  kubecertd renew apiserver scheduler.conf`,
	}
	all := cmd.Flags().Bool("all", false, "renew every certificate that kubeadm renews")
	dryRun := cmd.Flags().Bool("dry-run", false, "show the plan and change nothing (exit code as of plan)")
	outputFlag(cmd, "text", "json", "yaml")
	cmd.ValidArgsFunction = completeCertificates
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if *all && len(args) > 0 {
			return fmt.Errorf("--all and names exclude each other")
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		wish := renew.Wish{All: *all, Names: args}
		if *dryRun {
			return showPlan(cmd, wish)
		}
		c, err := load(cmd)
		if err != nil {
			return err
		}
		if err := requireRoot("renew"); err != nil {
			return err
		}
		if err := requireHost(c); err != nil {
			return err
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
		if err := known(node, wish); err != nil {
			return err
		}
		began := time.Now()
		id, look, err := node.Act(cmd.Context(), wish, "command")
		stop()
		if err != nil {
			return err
		}
		if id == "" {
			fmt.Fprintln(cmd.OutOrStdout(), "Nothing to do.")
			return nil
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Renewed %d, restarted and proven %d, in %s. See 'kubecertd history %s'.\n",
			len(look.Plan.Renew), len(look.Plan.Restart), time.Since(began).Round(100*time.Millisecond), id)
		return nil
	}
	return cmd
}
