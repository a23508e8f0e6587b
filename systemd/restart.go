package systemd

import (
	"context"
	"fmt"
	"time"
)

const (
	// restartTimeout bounds a restart for a caller that gave no deadline: systemd's
	// own limits for stopping and for starting, 90 s each by default, and some.
	restartTimeout = 4 * time.Minute
	// watchInterval is how often the unit is looked at beside the job's signal,
	// which is lost when the D-Bus daemon is restarted meanwhile.
	watchInterval = 500 * time.Millisecond
)

// JobError says that systemd carried out a job and it did not end well.
type JobError struct {
	Unit string
	// Result is systemd's: "failed", "timeout", "canceled", "dependency", "skipped".
	Result string
}

func (e *JobError) Error() string {
	meaning := map[string]string{
		"failed":     "it did not start",
		"timeout":    "it did not start in time",
		"canceled":   "another job took its place",
		"dependency": "a unit that it requires did not start",
		"skipped":    "it does not apply to the unit as it is",
	}[e.Result]
	if meaning != "" {
		meaning = " (" + meaning + ")"
	}
	return fmt.Sprintf("systemd's job to restart %s ended with %q%s: look at `systemctl status %s` and `journalctl -u %s`",
		e.Unit, e.Result, meaning, e.Unit, e.Unit)
}

// Restart restarts a unit, or starts it if it does not run, and waits until systemd
// has carried that out. It returns nil only if the unit is then active and is
// another invocation than before. A job that ended otherwise is a *JobError.
//
// When the context ends first, the job goes on: systemd has been asked.
func (m *Manager) Restart(ctx context.Context, name string) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, restartTimeout)
		defer cancel()
	}
	before, err := m.Unit(ctx, name)
	if err != nil {
		return fmt.Errorf("restart %s: %w", name, err)
	}
	if before.LoadState != "loaded" {
		return fmt.Errorf("restart %s: its unit is %s: look at `systemctl status %s`", name, before.LoadState, name)
	}
	if before.ActiveState == "failed" {
		// One that has failed too often is not started again before that is forgotten
		// (systemd.unit(5), StartLimitBurst=). Where it cannot be, the job says why.
		m.resetFailed(ctx, name)
	}
	// Buffered: go-systemd sends while it holds its list of jobs, so that a receiver
	// that has given up would block every later call.
	result := make(chan string, 1)
	if err := m.queue(ctx, name, result); err != nil {
		return fmt.Errorf("restart %s: %w", name, err)
	}
	if err := m.await(ctx, name, result); err != nil {
		return err
	}
	after, err := m.Unit(ctx, name)
	switch {
	case err != nil:
		return fmt.Errorf("%s was restarted: %w", name, err)
	case after.ActiveState != "active":
		return fmt.Errorf("%s was restarted and is now %s (%s), result %s: look at `journalctl -u %s`",
			name, after.ActiveState, after.SubState, after.Result, name)
	case after.InvocationID == before.InvocationID && after.InvocationID != "":
		return fmt.Errorf("%s is still the invocation %s: systemd did not restart it: look at `systemctl status %s`", name, after.InvocationID, name)
	}
	return nil
}

// jobMode takes the job out of the order of units. kubecertd.service comes after the
// kubelet, so that at shutdown it ends first; in that order a restart of the kubelet
// that kubecertd asks for while it is told to stop would wait for kubecertd to have
// ended, and kubecertd for the restart (systemd: core/job.c, job_is_runnable). The
// kubelet's own requirements are there: it runs.
const jobMode = "ignore-dependencies"

// resetFailed has systemd forget how often a unit has failed.
func (m *Manager) resetFailed(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	l, _, err := m.connection(ctx)
	if err != nil {
		return
	}
	if err := l.conn.ResetFailedUnitContext(ctx, name); err != nil && l.lost(err) {
		m.drop(l)
	}
}

// queue asks systemd for the restart.
func (m *Manager) queue(ctx context.Context, name string, result chan<- string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	l, _, err := m.connection(ctx)
	if err != nil {
		return err
	}
	if _, err := l.conn.RestartUnitContext(ctx, name, jobMode, result); err != nil {
		if l.lost(err) {
			m.drop(l)
			return fmt.Errorf("the connection to systemd was lost while asking, it may restart it all the same: %w", err)
		}
		return fmt.Errorf("systemd refused: %w", err)
	}
	return nil
}

// await waits for the job's own result. Should its signal be lost, two looks in a
// row that see no job for the unit say that it is over; how it ended is then for
// the unit's state to say.
func (m *Manager) await(ctx context.Context, name string, result <-chan string) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	last := "its state is not known"
	for without := 0; without < 2; {
		select {
		case r := <-result:
			if r != "done" {
				return &JobError{Unit: name, Result: r}
			}
			return nil
		case <-ctx.Done():
			return fmt.Errorf("the restart of %s has not ended in time (%s) and goes on: look at `systemctl list-jobs` and `journalctl -u %s`: %w",
				name, last, name, ctx.Err())
		case <-tick.C:
			u, err := m.Unit(ctx, name)
			switch {
			case err != nil && ctx.Err() == nil:
				last = err.Error()
			case err == nil && u.job != 0:
				last, without = fmt.Sprintf("it is %s (%s)", u.ActiveState, u.SubState), 0
			case err == nil:
				without++
			}
		}
	}
	return nil
}
