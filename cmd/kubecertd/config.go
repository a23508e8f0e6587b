package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/report/metrics"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check or show the configuration",
		Args:  knownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	check := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check the configuration, and that it fits this node's certificates",
		Long: `Check the configuration: every key and value, all problems at once, that the
threshold is shorter than the lifetime of this node's certificates, and that a file
which metrics.webConfig names can be used.`,
		Example: `  kubecertd config check
  kubecertd config check ./kubecertd.yaml && install -m 644 kubecertd.yaml ` + configs.File,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if err := cmd.Flags().Set("config", args[0]); err != nil {
					return usageError{err}
				}
			}
			c, err := load(cmd)
			if err != nil {
				return err
			}
			n := newNode(c, nil)
			defer n.close()
			if err := errors.Join(n.fits(), metrics.CheckWebConfig(c.Metrics.WebConfig)); err != nil {
				return usageError{err}
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "The configuration is good.")
			return err
		},
	}
	show := &cobra.Command{
		Use:   "show",
		Short: "Show the configuration in force, and where each value comes from",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			effective, err := loadEffective(cmd)
			if err != nil {
				return err
			}
			content, err := effective.YAML()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(content)
			return err
		},
	}
	cmd.AddCommand(check, show)
	return cmd
}
