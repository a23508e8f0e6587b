package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/configs"
)

// execute is the program.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// newRoot makes the command tree.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "kubecertd",
		Short: "Keep the certificates of a kubeadm node alive",
		Long: `kubecertd renews the certificates of a kubeadm node with kubeadm before they run
out, restarts the components that hold the old ones, and proves that the new
ones are loaded.

Each key of the configuration is also a flag (--check-interval=10m sets check.interval)
and an environment variable (KUBECERTD_CHECK_INTERVAL); see 'kubecertd config show'.

Exit codes: 0 done, or nothing to do; 1 failed; 2 there is something to do (plan, doctor);
3 the command line or the configuration is wrong; 4 nothing was touched because a
gate is closed or another run is under way. check has those of Nagios.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringP("config", "c", "", "configuration file (default "+configs.File+")")
	root.PersistentFlags().String("root", "", "look at the node whose file system lies under this directory (paths.root)")
	// One flag for each key, too many to be listed with every command.
	for _, key := range configs.Keys() {
		root.PersistentFlags().String(key.Flag, key.Default, "overrides "+key.Name)
		_ = root.PersistentFlags().MarkHidden(key.Flag)
	}
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml")
	_ = root.MarkPersistentFlagDirname("root")
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see '%s --help')", err, cmd.CommandPath())}
	})
	root.AddCommand(newRun(), newStatus(), newPlan(), newDoctor(), newCheck(), newFleet(), newRenew(), newPause(), newResume(), newLock(), newHistory(), newBackup(), newNotify(), newConfig(), newVersion())
	addDocs(root)
	// A wrong number of arguments is a usage error like a wrong flag.
	wrongArgumentsAreUsage(root)
	return root
}

func wrongArgumentsAreUsage(c *cobra.Command) {
	for _, sub := range c.Commands() {
		wrongArgumentsAreUsage(sub)
	}
	check := c.Args
	if check == nil {
		return
	}
	c.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// knownCommand refuses what follows a command that only has others below it.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if near := configs.Nearest(args[0], names); near != "" {
		return fmt.Errorf("unknown command %q: did you mean '%s %s'?", args[0], cmd.CommandPath(), near)
	}
	return fmt.Errorf("unknown command %q (see '%s --help')", args[0], cmd.CommandPath())
}

// load reads the configuration as the command line says.
func load(cmd *cobra.Command) (configs.Config, error) {
	effective, err := loadEffective(cmd)
	return effective.Config, err
}

// loadEffective reads it with where each value comes from.
func loadEffective(cmd *cobra.Command) (configs.Effective, error) {
	file, explicit := configs.File, false
	if named, _ := cmd.Flags().GetString("config"); named != "" {
		file, explicit = named, true
	}
	effective, err := configs.Read(file, explicit, cmd.Flags())
	if err == nil {
		err = templates(effective.Config)
	}
	if err != nil {
		return effective, usageError{err}
	}
	if root, _ := cmd.Flags().GetString("root"); root != "" {
		effective.Config.Paths.Root = root
	}
	return effective, nil
}

// outputFlag adds -o with the given formats, the first of them the default.
func outputFlag(cmd *cobra.Command, formats ...string) {
	cmd.Flags().StringP("output", "o", formats[0], "one of "+strings.Join(formats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if format := output(cmd); !slices.Contains(formats, format) {
			return usageError{fmt.Errorf("-o %s: not one of %s", format, strings.Join(formats, ", "))}
		}
		return nil
	}
}

func output(cmd *cobra.Command) string {
	format, _ := cmd.Flags().GetString("output")
	return format
}

// requireHost refuses to act on the host for what was seen elsewhere.
func requireHost(c configs.Config) error {
	if root := c.Paths.Root; root != "" && root != "/" {
		return usageError{fmt.Errorf("paths.root (--root) is %s: another file system can be looked at (status, plan), but kubeadm and the restarts would act on this host", root)}
	}
	return nil
}

// requireRoot refuses what only root can do, before it half succeeds.
func requireRoot(what string) error {
	if os.Geteuid() != 0 {
		return usageError{fmt.Errorf("%s must be run as root: it reads private keys and talks to the container runtime and systemd", what)}
	}
	return nil
}
