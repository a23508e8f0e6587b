package main

import (
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

func newPause() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Touch nothing on this node for a while",
		Long: `Touch nothing on this node, neither the daemon nor 'kubecertd renew', until --for has
passed or 'kubecertd resume' is called. It survives restarts and reboots, and is shown
by status, plan and 'systemctl status kubecertd'. A run that is under way is finished.

Certificates go on to expire meanwhile.`,
		Example: `  kubecertd pause --for 2h --reason 'kubeadm upgrade'
  kubecertd pause --for 3d
  kubecertd pause                   # until 'kubecertd resume'`,
		Args: cobra.NoArgs,
	}
	duration := cmd.Flags().String("for", "", "how long, such as 2h or 3d (default until resumed)")
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]cobra.Completion{"30m", "2h", "1d", "1w"}, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveKeepOrder))
	reason := cmd.Flags().String("reason", "", "why, for those who wonder")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load(cmd)
		if err != nil {
			return err
		}
		p := renew.Pause{Since: clock().UTC().Truncate(time.Second), Reason: oneLine(*reason), By: person()}
		if *duration != "" || cmd.Flags().Changed("for") {
			d, err := configs.ParseDuration(*duration)
			if err != nil || d <= 0 {
				return usageError{fmt.Errorf("--for %q: not a time to come, such as 30m, 2h or 3d", *duration)}
			}
			p.Until = p.Since.Add(d)
		}
		if err := requireRoot("pause"); err != nil {
			return err
		}
		state := renew.State{Dir: c.Paths.State}
		if err := state.Pause(p); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Kubecertd is %s. It touches nothing until then; at once: kubecertd resume\n", p)
		if pid, yes := state.RunUnderWay(); yes {
			fmt.Fprintf(cmd.OutOrStdout(), "A run is under way (process %s) and will be finished.\n", pid)
		}
		n := newNode(c, nil)
		defer n.close()
		warnOfExpiry(cmd.OutOrStdout(), n.ObserveDisk(p.Since), p)
		return nil
	}
	return cmd
}

// warnOfExpiry names what would run out during a pause, or, if that has no end, what
// will be the first.
func warnOfExpiry(w io.Writer, o renew.Observation, p renew.Pause) {
	var first pki.Certificate
	for _, c := range o.Certificates {
		if c.Leaf == nil || c.Renewer != pki.Kubeadm || c.State == pki.External {
			continue
		}
		if first.Leaf == nil || c.NotAfter.Before(first.NotAfter) {
			first = c
		}
	}
	if first.Leaf != nil && (p.Until.IsZero() || first.NotAfter.Before(p.Until)) {
		fmt.Fprintf(w, "Mind: %s expires at %s.\n", first.Name, first.NotAfter.UTC().Format(pki.TimeLayout))
	}
}

func newResume() *cobra.Command {
	return &cobra.Command{
		Use:   "resume",
		Short: "End a pause",
		Long:  `End a pause. The daemon looks at once, and does what has become due.`,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := load(cmd)
			if err != nil {
				return err
			}
			if err := requireRoot("resume"); err != nil {
				return err
			}
			state := renew.State{Dir: c.Paths.State}
			paused := state.Paused(clock())
			if _, err := state.Resume(); err != nil {
				return err
			}
			if paused == nil {
				fmt.Fprintln(cmd.OutOrStdout(), "Kubecertd was not paused.")
				return nil
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Resumed. Kubecertd was %s.\n", paused)
			return nil
		},
	}
}

// person is who called the command, as far as that is known.
func person() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return oneLine(name)
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// oneLine is a text that cannot break a status line or a terminal.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}
