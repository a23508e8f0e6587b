package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
)

func newStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show every certificate, when it expires, and whether it is loaded",
		Long: `Show every certificate of this node: its state, when it expires, when kubecertd
will renew it, and whether the processes that hold it have loaded what is on disk.

Certificates that exist only in memory are shown with their component; a restart makes
new ones.

On a terminal the worst comes first, LIFE is how much of its life a certificate has left,
and columns for which there is no room are left out. Elsewhere, and with -o wide, the
order is kubeadm's and all columns are there.`,
		Example: `  kubecertd status
  kubecertd status --watch          # again every 2 seconds, until ^C
  kubecertd status -o wide          # with paths, serials, reasons and evidence
  kubecertd status -o json | jq '.certificates[] | select(.state != "ok")'
  kubecertd status --disk           # files only: no port, socket or process is asked`,
		Args: cobra.NoArgs,
	}
	disk := cmd.Flags().Bool("disk", false, "look at files only")
	again := cmd.Flags().String("watch", "", "show it again and again, so long after each look, until ^C")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	outputFlag(cmd, "table", "wide", "json", "yaml")
	colorFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t, err := terminalOf(cmd)
		if err != nil {
			return err
		}
		every, err := configs.ParseDuration(*again)
		if watch := cmd.Flags().Changed("watch"); watch && (err != nil || every <= 0) {
			return usageError{fmt.Errorf("--watch %q: not a time to wait between two looks, such as 2s or 1m", *again)}
		} else if watch && (!t.is || output(cmd) != "table") {
			return usageError{errors.New("--watch is for a terminal, and for -o table")}
		}
		c, err := load(cmd)
		if err != nil {
			return err
		}
		if err := requireRoot("status"); err != nil {
			return err
		}
		node := newNode(c, nil)
		defer node.close()
		if every > 0 {
			look := &looker{node: node, disk: *disk}
			return t.watch(cmd.Context(), every, func(ctx context.Context) (string, error) {
				var b bytes.Buffer
				err := look.status(ctx).WriteTerminal(&b, t.view())
				return b.String(), err
			})
		}
		status := (&looker{node: node, disk: *disk}).status(cmd.Context())
		switch format := output(cmd); {
		case format == "table" && t.shows():
			return status.WriteTerminal(cmd.OutOrStdout(), t.view())
		case format == "table", format == "wide":
			return status.WriteTable(cmd.OutOrStdout(), format == "wide")
		default:
			return report.Write(cmd.OutOrStdout(), format, status)
		}
	}
	return cmd
}

// looker looks at a node, also again and again.
type looker struct {
	node  *node
	disk  bool
	turn  *renew.TurnStatus
	asked time.Time
}

// turnAge is how old the turn may be that is shown while somebody watches: the API server
// and etcd are asked for it, and not every two seconds.
const turnAge = 30 * time.Second

// status looks once.
func (l *looker) status(ctx context.Context) report.Status {
	if l.disk {
		o := l.node.ObserveDisk(time.Now())
		return report.NewStatus(renew.Look{Observation: o, Plan: renew.Decide(o, l.node.Policy, renew.Wish{})}, true)
	}
	o := l.node.Observe(ctx, time.Now())
	l.node.Ask(ctx, &o)
	status := report.NewStatus(renew.Look{Observation: o, Proofs: renew.Prove(o), Plan: renew.Decide(o, l.node.Policy, renew.Wish{})}, false)
	if o.ControlPlane {
		if l.turn == nil || time.Since(l.asked) >= turnAge {
			turn := l.node.TurnStatus(ctx)
			l.turn, l.asked = &turn, time.Now()
		}
		status.Turn = l.turn
	}
	return status
}
