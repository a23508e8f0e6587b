//go:build linux

// Command lab brings real kubeadm control planes up on this machine and takes
// them away again.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "lab",
		Short: "Real kubeadm control planes on this machine",
		Example: `  go run ./test/lab up --nodes 3 --validity 1h
  go run ./test/lab sh cp1 kubectl get pods -A
  go run ./test/lab down`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	name := root.PersistentFlags().String("name", controlplane.DefaultName, "name that tells labs apart")
	root.AddCommand(upCommand(name), downCommand(name), shCommand(name), statusCommand(name), partsCommand())
	return root
}

func upCommand(name *string) *cobra.Command {
	var o controlplane.Options
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring a control plane up, in place of an earlier one of this name",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Name, o.Progress = *name, cmd.ErrOrStderr()
			cluster, err := controlplane.Up(cmd.Context(), o)
			if _, openErr := controlplane.Open(*name); err != nil && openErr == nil {
				return fmt.Errorf("%w\nwhat came up stays for a look, until down or the next up of --name %s", err, *name)
			}
			if err != nil {
				return err
			}
			printNodes(cmd.OutOrStdout(), cluster)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Nodes, "nodes", 1, "number of control-plane nodes, cp1 and on")
	flags.StringVar(&o.Kubernetes, "kubernetes", "", "version, such as 1.36.3 or 1.35 (default the newest known)")
	flags.DurationVar(&o.Validity, "validity", 0, "lifetime of the certificates, such as 1h (default kubeadm's, a year)")
	return cmd
}

func downCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove the lab with all that it made on this machine",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return controlplane.Down(cmd.Context(), *name)
		},
	}
}

func shCommand(name *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sh NODE [COMMAND…]",
		Short: "Run a command in a node, or a shell",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, err := controlplane.Open(*name)
			if err != nil {
				return err
			}
			node, err := cluster.Node(args[0])
			if err != nil {
				return err
			}
			argv := args[1:]
			if len(argv) == 0 {
				argv = []string{"bash", "--login"}
			}
			return become(cmd.Context(), node, argv)
		},
	}
	// What follows the node's name belongs to the command.
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// become replaces this process by the command, which so has the terminal and
// its exit code to itself.
func become(ctx context.Context, node *controlplane.Node, argv []string) error {
	inside, err := node.Command(ctx, argv...)
	if err != nil {
		return err
	}
	env := append(inside.Env, "TERM="+os.Getenv("TERM"))
	if err := syscall.Exec(inside.Path, inside.Args, env); err != nil {
		return fmt.Errorf("run %s: %w", inside.Path, err)
	}
	return nil
}

func statusCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the lab's nodes and whether they are healthy",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printStatus(cmd.Context(), cmd.OutOrStdout(), *name)
		},
	}
}
