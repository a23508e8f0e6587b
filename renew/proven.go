package renew

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// prove waits until every restarted component has loaded what is on disk. A
// listener that reloads by itself may take some seconds for it.
func (r *run) prove(ctx context.Context, restarted []string) error {
	if err := r.begin("prove", ""); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, proveDeadline)
	defer cancel()
	for {
		r.alive()
		o := r.observe(ctx, r.Now())
		open := r.unproven(o, restarted)
		if len(open) == 0 {
			open = r.unheard(ctx, o)
		}
		if len(open) == 0 {
			r.log.Info("every component has loaded what is on disk", event(EventProven), zap.Strings("components", restarted))
			return errors.Join(r.recordReplaced(o, true), r.end("prove", "", "", nil))
		}
		select {
		case <-ctx.Done():
			err := fmt.Errorf("not proven within %s: %s", proveDeadline, strings.Join(open, "; "))
			return errors.Join(err, r.recordReplaced(o, true), r.end("prove", "", "", err))
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// proveDeadline is how long a component may take to show the new certificates:
// the API server's listener looks again every minute at the latest (apiserver:
// server/dynamiccertificates/tlsconfig.go).
const proveDeadline = 90 * time.Second

// unproven names what the restarted components, and those that reload by themselves, are
// not proven to have loaded.
func (r *run) unproven(o Observation, restarted []string) []string {
	var open []string
	for _, p := range Prove(o) {
		// One that was not restarted is waited for where it can be seen to reload.
		reloading := slices.Contains(r.renewed, p.Certificate) && (!p.Until.IsZero() || p.Verdict == Stale) &&
			r.Policy.Restart.For(p.Component) != RestartNever
		if p.Verdict != Loaded && (slices.Contains(restarted, p.Component) || reloading) {
			open = append(open, fmt.Sprintf("%s has not loaded %s: %s", p.Component, p.Certificate, p.Evidence))
		}
	}
	for _, was := range r.replaced {
		if err := r.unreplaced(o, was); err != nil {
			open = append(open, err.Error())
		}
	}
	return open
}
