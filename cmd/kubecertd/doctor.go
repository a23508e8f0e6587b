package main

import (
	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
)

func newDoctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say everything that is wrong, worst first, and what to do about it",
		Long: `Say everything that is wrong with this node's certificates and with what looks after
them, worst first: what was found, what kubecertd does about it by itself and when, and
what you have to do. Each finding has an id, under which docs/troubleshooting.md says more.

It changes nothing, needs no API server, and ends within seconds whatever is broken.

Exit code 0: nothing is wrong (there may be things that are good to know); 2: kubecertd
sees to all that is wrong; 1: something needs you.`,
		Example: `  kubecertd doctor
  kubecertd doctor -o json | jq -r '.findings[] | select(.remedy) | .found, .remedy'`,
		Args: cobra.NoArgs,
	}
	outputFlag(cmd, "text", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load(cmd)
		if err != nil {
			return err
		}
		if err := requireRoot("doctor"); err != nil {
			return err
		}
		node := newNode(c, nil)
		defer node.close()
		e := node.Examine(cmd.Context())
		d := report.Diagnosis{At: e.Observation.At, Findings: renew.Findings(e, node.Policy)}
		if format := output(cmd); format == "text" {
			d.WriteText(cmd.OutOrStdout())
		} else if err := report.Write(cmd.OutOrStdout(), format, d); err != nil {
			return err
		}
		switch renew.NeedOf(d.Findings) {
		case renew.Operator:
			return exitStatus(exitFailed)
		case renew.Patience:
			return exitStatus(exitWork)
		default:
			return nil
		}
	}
	return cmd
}
