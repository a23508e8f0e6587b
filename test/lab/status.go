//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
	"github.com/kubecertd/kubecertd/test/lab/machine"
	"github.com/kubecertd/kubecertd/test/lab/parts"
	"github.com/kubecertd/kubecertd/test/lab/progress"
)

func partsCommand() *cobra.Command {
	var kubernetes string
	cmd := &cobra.Command{
		Use:   "parts",
		Short: "Build what a lab is made of into the cache, and no lab",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if missing := controlplane.Missing(); len(missing) > 0 {
				return errors.New(strings.Join(missing, "\n"))
			}
			cache, err := parts.OpenCache("")
			if err != nil {
				return err
			}
			set, err := cache.Build(cmd.Context(), kubernetes, progress.New(cmd.ErrOrStderr()))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "the parts of Kubernetes %s are in %s\n", set.Kubernetes, cache.Dir())
			return err
		},
	}
	cmd.Flags().StringVar(&kubernetes, "kubernetes", "", "version, such as 1.36.3 or 1.35 (default the newest known)")
	return cmd
}

// printNodes tells how to use what has come up.
func printNodes(w io.Writer, c *controlplane.Cluster) {
	name := ""
	if c.Name() != controlplane.DefaultName {
		name = " --name " + c.Name()
	}
	_, _ = fmt.Fprintf(w, "Kubernetes %s is up:", c.Kubernetes())
	for _, n := range c.Nodes {
		_, _ = fmt.Fprintf(w, " %s (%s)", n.Name(), n.Address())
	}
	_, _ = fmt.Fprintf(w, "\n  a shell in a node:  go run ./test/lab sh%s %s\n  remove it:          go run ./test/lab down%s\n",
		name, c.Nodes[0].Name(), name)
}

func printStatus(ctx context.Context, w io.Writer, name string) error {
	cluster, err := controlplane.Open(name)
	if errors.Is(err, machine.ErrNoLab) {
		_, err = fmt.Fprintf(w, "there is no lab %s%s\n", name, others(name))
		return err
	}
	if err != nil {
		return err
	}
	state := "never came up"
	if !cluster.Ready().IsZero() {
		state = "up since " + cluster.Ready().Format("15:04:05")
	}
	_, _ = fmt.Fprintf(w, "lab %s, Kubernetes %s, %s%s\n", name, cluster.Kubernetes(), state, others(name))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NODE\tADDRESS\tPOWER\tHEALTH")
	for _, n := range cluster.Nodes {
		power, health := "off", "-"
		if n.Running() {
			power, health = "on", "healthy"
			if err := n.Healthy(ctx); err != nil {
				health = strings.ReplaceAll(err.Error(), "\n", "; ")
			}
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", n.Name(), n.Address(), power, health)
	}
	return table.Flush()
}

// others names the labs of this host that were not asked for.
func others(name string) string {
	names, err := machine.Names()
	names = slices.DeleteFunc(names, func(n string) bool { return n == name })
	if err != nil || len(names) == 0 {
		return ""
	}
	return "; other labs here: " + strings.Join(names, ", ")
}
