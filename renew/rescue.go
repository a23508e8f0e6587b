package renew

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// rescue is for a component that did not come back, or not healthy, in its time. It is
// helped once, unless a new certificate is plainly to blame; when that did not help,
// the evidence decides: the certificates to blame are put back and the component is
// started with them, or else nothing more is done, and said what a person can do.
func (r *run) rescue(ctx context.Context, c Component, cause error) error {
	r.log.Error("component did not come back", event(EventRestartFailed), zap.String("component", c.Name), zap.Error(cause))
	layout, _ := r.Locate()
	guilty := r.blame(ctx, layout, c.Name)
	if len(guilty) == 0 {
		err := r.escalate(ctx, c.Name)
		if err == nil {
			return nil
		}
		cause = errors.Join(cause, err)
		if guilty = r.blame(ctx, layout, c.Name); len(guilty) == 0 {
			return fmt.Errorf("%w: nothing blames the new certificates, so they stay; nothing more is restarted. "+
				"Look at `crictl ps -a` and `crictl logs` of %s; the certificates from before are in `kubecertd backup show %s`", cause, c.Name, r.snapshot.ID)
		}
	}
	back, err := r.rollBack(layout, guilty)
	if err != nil {
		return errors.Join(cause, err)
	}
	if err := r.escalate(ctx, c.Name); err != nil {
		return fmt.Errorf("%w: %s put back, which did not help: %w: nothing more is restarted", cause, back, err)
	}
	return fmt.Errorf("%w: %s put back, and %s runs with what it had before: nothing more is restarted in this run", cause, back, c.Name)
}

// blame looks for evidence against the certificates that this run renewed.
func (r *run) blame(ctx context.Context, layout pki.Layout, component string) []blamed {
	var said string
	// What a program of others says of credentials need not be about these.
	if c, ok := r.find(ctx, component); ok && !foreign(component) {
		var err error
		if said, err = r.Containers.Said(ctx, c); err != nil {
			r.log.Warn("what the component said cannot be read", zap.String("component", component), zap.Error(err))
		}
	}
	return blame(Observation{Certificates: layout.Read(r.Now()), Others: layout.Holders()}, r.renewed, component, said)
}

// rollBack puts the certificates that are to blame back, unless what was there before
// has run out: that would help nobody.
func (r *run) rollBack(layout pki.Layout, guilty []blamed) (back string, err error) {
	old := Observation{Certificates: r.snapshot.certificates(layout)}
	var names []string
	for _, g := range guilty {
		if before, _ := old.Certificate(g.Certificate); before.Leaf == nil || !before.NotAfter.After(r.Now()) {
			return "", fmt.Errorf("%s is to blame (%s), and the one before it has run out: repair it by hand, nothing more is restarted", g.Certificate, g.Evidence)
		}
	}
	for _, g := range guilty {
		// It counts as a renewal that failed.
		failure := fmt.Errorf("the component did not start with it: %s", g.Evidence)
		if err := r.end("renew "+g.Certificate, "", "", failure); err != nil {
			r.log.Error("the run's record could not be written; the certificate is put back all the same", zap.Error(err))
		}
		if err := r.putBack(layout, g.Certificate, g.Evidence, true); err != nil {
			return "", err
		}
		names = append(names, g.Certificate)
	}
	return strings.Join(names, ", "), nil
}

// escalate helps a component once with all there is: its container is stopped, its pod
// is made anew, and the kubelet is restarted, which makes it forget how often it has
// started the container lately and how long it meant to wait.
func (r *run) escalate(ctx context.Context, name string) (err error) {
	step := "escalate " + name
	if err := r.begin(step, "stop, new pod sandbox, restart of the kubelet"); err != nil {
		r.log.Error("the run's record could not be written; the component is helped all the same", zap.Error(err))
	}
	defer func() {
		if recording := r.end(step, "", "", err); recording != nil {
			r.log.Error("the run's record could not be written", zap.Error(recording))
		}
	}()
	r.log.Warn("helping a component to come back", event(EventEscalated), zap.String("component", name),
		zap.String("reason", "its container is stopped, its pod made anew, and the kubelet restarted"))
	// Each of these may fail and the next still help.
	old, here := r.find(ctx, name)
	var failed []error
	if here && old.Running {
		_, err := r.Containers.Stop(ctx, old, r.grace(name))
		failed = append(failed, err)
	}
	if here && !shares(name) {
		failed = append(failed, r.Containers.StopPod(ctx, old))
	}
	r.alive()
	failed = append(failed, r.bringKubeletBack(ctx))
	if here {
		_, err = r.awaitSuccessor(ctx, old)
	}
	if err == nil {
		err = r.awaitHealthy(ctx, name)
	}
	if err != nil {
		return errors.Join(append([]error{err}, failed...)...)
	}
	return nil
}

// bringKubeletBack restarts the kubelet, if it could start again.
func (r *run) bringKubeletBack(ctx context.Context) error {
	if err := r.kubeletCanStart(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.Restarts.Kubelet)
	defer cancel()
	if err := r.Kubelet.Restart(ctx); err != nil {
		return fmt.Errorf("restart kubelet: %w", err)
	}
	return r.awaitKubelet(ctx)
}

// find is the newest container of a component.
func (r *run) find(ctx context.Context, name string) (Component, bool) {
	list, err := r.Containers.List(ctx)
	if err != nil {
		r.log.Warn("the components cannot be listed", zap.Error(err))
	}
	layout, _ := r.Locate()
	return Observation{Components: ordered(list, layout.Holders())}.Component(name)
}

// crashes ends a wait for a component that keeps crashing: it will not become healthy
// by waiting, and each further start waits longer.
type crashes struct {
	seen   map[string]bool
	looked time.Time
}

const (
	// tooManyCrashes in a row are no accident: a component that starts before what it
	// needs leaves once or twice.
	tooManyCrashes = 3
	// lookForCrashes is how often is looked.
	lookForCrashes = time.Second
)

// again looks whether the component has crashed once more, and says why too often.
func (c *crashes) again(ctx context.Context, r *run, name string) error {
	now := r.Now()
	if now.Sub(c.looked) < lookForCrashes {
		return nil
	}
	c.looked = now
	current, ok := r.find(ctx, name)
	if !ok || current.Running {
		return nil
	}
	if c.seen[current.ID] = true; len(c.seen) < tooManyCrashes {
		return nil
	}
	return fmt.Errorf("it keeps crashing: %s", current.Detail)
}
