package main

import (
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// What a shell completes is read from the disk, at once, by whoever types: no port, socket
// or other host is asked, and what cannot be read is left out.

// completeCertificates completes what kubeadm renews on this node.
func completeCertificates(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	c, err := load(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	n := newNode(c, nil)
	defer n.close()
	layout, _ := n.Locate()
	now := time.Now()
	var names []cobra.Completion
	for _, c := range layout.Read(now) {
		if c.Renewer != pki.Kubeadm || c.State == pki.Missing && c.Optional || slices.Contains(args, c.Name) {
			continue
		}
		is := string(c.State)
		if !c.NotAfter.IsZero() {
			is = "ends in " + pki.Span(c.Remaining(now))
		}
		names = append(names, cobra.CompletionWithDesc(c.Name, is))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeRuns completes the recorded runs, newest first.
func completeRuns(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	c, err := load(cmd)
	if err != nil || len(args) > 0 {
		return nil, directive
	}
	runs, _ := renew.State{Dir: c.Paths.State}.History()
	var ids []cobra.Completion
	for _, r := range slices.Backward(runs) {
		ids = append(ids, cobra.CompletionWithDesc(r.ID, string(r.Outcome)))
	}
	return ids, directive
}

// completeSnapshots completes the snapshots, newest first.
func completeSnapshots(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	c, err := load(cmd)
	if err != nil || len(args) > 0 {
		return nil, directive
	}
	list, _ := renew.State{Dir: c.Paths.State}.Snapshots()
	var ids []cobra.Completion
	for _, s := range slices.Backward(list) {
		ids = append(ids, cobra.CompletionWithDesc(s.ID, pki.Span(time.Since(s.Taken))+" ago"))
	}
	return ids, directive
}

// completeFiles leaves it to the shell, which knows the files.
func completeFiles(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []cobra.Completion{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}
