package renew

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"go.uber.org/zap"
)

// gateHook is the gate of the administrator's own program.
const gateHook = "hook"

// Hooks are programs of the administrator's that a run calls. Those without arguments,
// not even their own path, are not there.
type Hooks struct {
	// Before is asked before a run that renews or restarts. Should it fail, nothing is
	// touched.
	Before Program
	// After is told how a run has ended. Whether it fails changes nothing.
	After Program
}

// mostSaid is how much of what a hook said is in the journal, in bytes.
const mostSaid = 4 << 10

// askHook asks the administrator's program whether a run may begin, and closes the gate
// if not. It is asked last, so that it hears only of what would be done now, and again for
// each attempt. It is not asked for what is only looked at.
func (n *Node) askHook(ctx context.Context, look *Look) error {
	hook := n.Hooks.Before
	if len(hook.Argv) == 0 {
		return nil
	}
	n.alive()
	output, err := hook.Run(ctx, n.variables("before-renewal", look.Observation.node(), names(look.Plan.Renew), components(look.Plan.Restart)), n.alive)
	n.alive()
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	n.saidHook("beforeRenewal", output, err)
	if err == nil {
		return nil
	}
	reason, _, _ := strings.Cut(output, "\n")
	look.Plan.Blocked = append(look.Plan.Blocked, Gate{gateHook, "hooks.beforeRenewal says no: " + cmp.Or(strings.TrimSpace(reason), err.Error()),
		"it is asked again after check.retry: " + err.Error()})
	return &BlockedError{look.Plan.Blocked}
}

// tellHook tells the administrator's program how a run has ended. It is told of a run that
// was told to stop, too.
func (r *run) tellHook(ctx context.Context) {
	hook := r.Hooks.After
	if len(hook.Argv) == 0 || r.run.Outcome == Unfinished {
		return
	}
	r.alive()
	layout, _ := r.Locate()
	node := Observation{Certificates: layout.Read(r.Now())}.node()
	variables := append(r.variables("after-proof", node, r.run.Renewed, r.run.Restarted),
		"KUBECERTD_EVENT_RUN="+r.id, "KUBECERTD_EVENT_OUTCOME="+string(r.run.Outcome), variable("TEXT", r.run.Error))
	output, err := hook.Run(context.WithoutCancel(ctx), variables, r.alive)
	r.alive()
	r.saidHook("afterProof", output, err)
}

// variables are what every hook is told.
func (n *Node) variables(event, node string, certificates, components []string) []string {
	return []string{"KUBECERTD_EVENT=" + event, variable("NODE", node),
		variable("CERTIFICATES", strings.Join(certificates, " ")), variable("COMPONENTS", strings.Join(components, " "))}
}

// variable is one for a program: in one piece, without what would end it.
func variable(name, value string) string {
	return "KUBECERTD_EVENT_" + name + "=" + strings.ReplaceAll(value, "\x00", "")
}

func (n *Node) saidHook(name, output string, err error) {
	if len(output) > mostSaid {
		output = strings.ToValidUTF8(output[:mostSaid], "") + "…"
	}
	if err != nil {
		n.Log.Warn("a hook has failed", event(EventHook), zap.String("hook", name), zap.String("output", output), zap.Error(err))
		return
	}
	n.Log.Info("a hook was run", event(EventHook), zap.String("hook", name), zap.String("output", output))
}
