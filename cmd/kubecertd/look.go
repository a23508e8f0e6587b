package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
)

func newPlan() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what would be done now, and why",
		Long: `Show what would be done now, and why: the certificates to renew, the components to
restart in their order, the gates that block, and when to look again.

Exit code 0: nothing to do; 2: something to do.`,
		Example: `  kubecertd plan
  kubecertd plan -o json | jq -r '.renew[].certificate'`,
		Args: cobra.NoArgs,
	}
	outputFlag(cmd, "text", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return showPlan(cmd, renew.Wish{})
	}
	return cmd
}

// showPlan looks, prints the plan, and says by the exit code whether there is work.
func showPlan(cmd *cobra.Command, wish renew.Wish) error {
	c, err := load(cmd)
	if err != nil {
		return err
	}
	if err := requireRoot("plan"); err != nil {
		return err
	}
	node := newNode(c, nil)
	defer node.close()
	node.ReadOnly = true
	if err := known(node, wish); err != nil {
		return err
	}
	plan := node.Look(cmd.Context(), wish).Plan
	if format := output(cmd); format == "text" {
		report.WritePlan(cmd.OutOrStdout(), plan)
	} else if err := report.Write(cmd.OutOrStdout(), format, plan); err != nil {
		return err
	}
	if plan.Work() {
		return exitStatus(exitWork)
	}
	return nil
}

// known refuses names that are not certificates of this node, or not kubeadm's, or that
// can be neither renewed nor repaired.
func known(n *node, wish renew.Wish) error {
	o := n.ObserveDisk(time.Now())
	plan := renew.Decide(o, n.Policy, wish)
	var names []string
	for _, c := range o.Certificates {
		planned := slices.ContainsFunc(plan.Renew, func(r renew.Renewal) bool { return r.Certificate == c.Name })
		if c.Kubelet != nil && !planned && slices.Contains(wish.Names, c.Name) {
			f := renew.FindKubeletFault(o, n.Policy)
			return usageError{fmt.Errorf("%s is not to be repaired here: %s (%s)", c.Name, cmp.Or(f.Remedy, f.Reason, "the kubelet renews it itself"), c.Path)}
		}
		if !planned && (c.Renewer != pki.Kubeadm || c.State == pki.Missing && c.Optional) {
			continue
		}
		names = append(names, c.Name)
		if i := slices.IndexFunc(plan.Decisions, func(d renew.Decided) bool { return d.Certificate == c.Name }); !planned && slices.Contains(wish.Names, c.Name) {
			return usageError{fmt.Errorf("%s cannot be renewed here: %s (%s)", c.Name, plan.Decisions[i].Reason, c.Path)}
		}
	}
	for _, name := range wish.Names {
		if slices.Contains(names, name) {
			continue
		}
		if _, here := o.Certificate(name); here {
			return usageError{fmt.Errorf("%s: not a certificate that kubeadm renews on this node: %s", name, strings.Join(names, ", "))}
		}
		meant := ""
		if near := configs.Nearest(name, names); near != "" {
			meant = "did you mean " + near + "? "
		}
		return usageError{fmt.Errorf("unknown certificate %q: %skubeadm renews these on this node: %s", name, meant, strings.Join(names, ", "))}
	}
	return nil
}

func newHistory() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history [RUN]",
		Short: "Show the recorded runs, newest first, or one of them step by step",
		Example: `  kubecertd history
  kubecertd history 20260301T031500.250Z-1a2b3c
  kubecertd history -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRuns,
	}
	outputFlag(cmd, "table", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := load(cmd)
		if err != nil {
			return err
		}
		if err := requireRoot("history"); err != nil {
			return err
		}
		runs, problem := renew.State{Dir: c.Paths.State}.History()
		if len(args) == 1 {
			i := slices.IndexFunc(runs, func(r renew.Run) bool { return r.ID == args[0] })
			if i < 0 {
				return usageError{fmt.Errorf("run %s is not recorded: see 'kubecertd history'", args[0])}
			}
			if output(cmd) == "table" {
				return report.WriteRun(cmd.OutOrStdout(), runs[i])
			}
			return report.Write(cmd.OutOrStdout(), output(cmd), runs[i])
		}
		if output(cmd) == "table" {
			err = report.WriteHistory(cmd.OutOrStdout(), runs)
		} else {
			err = report.Write(cmd.OutOrStdout(), output(cmd), runs)
		}
		if err != nil {
			return err
		}
		return problem
	}
	return cmd
}
