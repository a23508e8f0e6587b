package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/cluster"
	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
)

func newFleet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "Show the certificates of all nodes of the cluster",
		Long: `Show what the nodes of the cluster say of their certificates: what ends first on each,
what has not been loaded, who holds the turn, and when each was looked at, the oldest
look first. A node without a report is named as such.

Each kubecertd writes its report on its own node, when it changes and every six hours
(node.condition); nothing else is asked. One that is older than 13 hours is silent.

The exit code is 0 also when a node needs attention: 'kubecertd check' is for
monitoring.`,
		Example: `  kubecertd fleet
  kubecertd fleet -o json | jq -r '.nodes[] | select(.state != "ok") | .name'
  kubecertd fleet --html fleet.html      # a page with a timeline
  kubecertd fleet --kubeconfig ~/.kube/config`,
		Args: cobra.NoArgs,
	}
	kubeconfig := cmd.Flags().String("kubeconfig", "", "ask with this kubeconfig; without it as the daemon does, as root")
	page := cmd.Flags().String("html", "", "write a page with a timeline to this file")
	_ = cmd.MarkFlagFilename("html", "html")
	outputFlag(cmd, "table", "json", "yaml", "html")
	colorFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t, err := terminalOf(cmd)
		if err != nil {
			return err
		}
		if *page != "" && cmd.Flags().Changed("output") {
			return usageError{errors.New("--html writes a file, and -o to the terminal: use one of them")}
		}
		c, err := load(cmd)
		if err != nil {
			return err
		}
		api, err := fleetAPI(c, *kubeconfig)
		if err != nil {
			return err
		}
		fleet, err := fleetOf(cmd.Context(), api)
		if err != nil {
			return err
		}
		if *page != "" {
			return writeFile(*page, fleet.WriteHTML)
		}
		switch format := output(cmd); {
		case format == "table" && t.shows():
			return fleet.WriteTerminal(cmd.OutOrStdout(), t.view())
		case format == "table":
			return fleet.WriteTable(cmd.OutOrStdout())
		case format == "html":
			return fleet.WriteHTML(cmd.OutOrStdout())
		default:
			return report.Write(cmd.OutOrStdout(), format, fleet)
		}
	}
	return cmd
}

// fleetAPI is the API with a kubeconfig that a person names, or as the daemon asks it.
func fleetAPI(c configs.Config, kubeconfig string) (cluster.API, error) {
	if kubeconfig != "" {
		return cluster.API{Kubeconfigs: []string{kubeconfig}}, nil
	}
	if err := requireRoot("fleet without --kubeconfig"); err != nil {
		return cluster.API{}, err
	}
	locate := func() (pki.Layout, []error) {
		return pki.Locate(pki.Options{Root: c.Paths.Root, KubernetesDir: c.Paths.Kubernetes,
			CertificatesDir: c.Paths.Certificates, KubeletDir: c.Paths.Kubelet})
	}
	return asking{locate, c.Cluster.Kubeconfig, renew.State{Dir: c.Paths.State}}.api(adminConf, superAdminConf), nil
}

// fleetOf asks the cluster.
func fleetOf(ctx context.Context, api cluster.API) (report.Fleet, error) {
	nodes, err := api.NodesSay(ctx)
	if err != nil {
		return report.Fleet{}, err
	}
	f := report.Fleet{At: clock().UTC(), Nodes: []report.FleetNode{}}
	for _, n := range nodes {
		node := report.NewFleetNode(n.Name, n.ControlPlane, n.Certificates, f.At)
		node.Working = n.Turn != ""
		f.Nodes = append(f.Nodes, node)
	}
	f.Sort()
	// The Lease alone: etcd, which has it as well, can be asked only on its own nodes.
	turn, err := cluster.Turn{API: api}.Read(ctx)
	switch {
	case err != nil:
		f.TurnUnknown = err.Error()
	case turn.Unknown != "":
		f.TurnUnknown = turn.Unknown
	default:
		f.Turn, f.Since, f.Reason = turn.Holder, turn.Since, turn.Reason
	}
	return f, nil
}

// writeFile writes a file that is either whole or not there.
func writeFile(name string, write func(io.Writer) error) (err error) {
	var content bytes.Buffer
	if err := write(&content); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".kubecertd-*")
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content.Bytes())
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
