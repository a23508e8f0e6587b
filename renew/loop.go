package renew

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// Loop is the daemon: look, and act if there is anything to do, for ever.
type Loop struct {
	Node *Node
	// Interval is how often the node is looked at without being woken. The timer
	// alone is right; everything that wakes the loop only makes it earlier.
	Interval time.Duration
	// Retry is how soon it looks again after a closed gate. What has failed is tried
	// again when the plan says so.
	Retry time.Duration
	// Wake wakes the loop, with the reason: a file has changed.
	Wake <-chan string
	// Reload is called on the loop's own goroutine between two looks when a signal
	// arrives on Hangup; it may change Node, Interval and Retry.
	Hangup <-chan os.Signal
	Reload func(*Loop)
	// Watch is told before each look which directories to watch.
	Watch func(directories []string)
	// Notify is told what to show to the service manager.
	Notify notifier
	// Report is told what the loop has seen and done; nil tells nobody.
	Report reporter

	last    string // what the last look found, so that each finding is said once
	notices map[string]bool
	// remembered is when what is remembered was last compared, and nothing failed.
	remembered time.Time
	ready      bool
	owes       bool // Look.Owes
}

// notifier is the service manager (sd_notify(3)).
type notifier interface {
	Ready()
	Status(text string)
	Watchdog()
	Stopping()
	WatchdogInterval() (time.Duration, bool)
}

// Run looks and acts until the context is cancelled.
func (l *Loop) Run(ctx context.Context) error {
	var watchdog <-chan time.Time
	if interval, on := l.Notify.WatchdogInterval(); on {
		// sd_watchdog_enabled(3) recommends half the time.
		ticker := time.NewTicker(interval / 2)
		defer ticker.Stop()
		watchdog = ticker.C
	}
	trigger := "start"
	for {
		next := time.NewTimer(l.look(ctx, trigger))
		wake := rest()
		trigger = ""
		for trigger == "" {
			select {
			case <-ctx.Done():
				next.Stop()
				wake()
				l.Notify.Stopping()
				l.Node.Log.Info("stopping", event(EventStopping), zap.String("cause", context.Cause(ctx).Error()))
				return nil
			case <-next.C:
				trigger = onTimer
			case why := <-l.Wake:
				trigger = why
			case <-l.Hangup:
				l.Reload(l)
				trigger = "reload"
			case <-watchdog:
				l.Notify.Watchdog()
			}
		}
		next.Stop()
		wake()
	}
}

// look looks once, acts if there is anything to do, and says how long to wait.
func (l *Loop) look(ctx context.Context, trigger string) time.Duration {
	n := l.Node
	n.Alive, n.Ran = l.Notify.Watchdog, l.ran
	n.alive()
	leftover := n.Recover(ctx)
	l.owes = leftover != nil
	n.dropMark(ctx)
	if leftover != nil {
		l.notice("what a run that was cut off has left could not be put right yet: " + leftover.Error())
	}
	// Before the look, so that what changes after it is noticed.
	if l.Watch != nil {
		layout, _ := n.Locate()
		l.Watch(slices.Concat(layout.Directories(), []string{n.State.maintenance()}, n.watchedDirectories(layout)))
	}
	seen := l.seen(ctx)
	l.say(seen, trigger)
	if err := n.approveServing(ctx, seen.Observation); err != nil {
		l.notice(err.Error())
	}
	l.Notify.Status(status(seen))
	if !l.ready {
		l.ready = true
		l.Notify.Ready()
	}
	wait := l.Interval
	switch {
	case seen.waits() && leftover == nil:
	case len(seen.Plan.Blocked) > 0, leftover != nil:
		wait = min(waits(seen.Plan, seen.Observation.node(), l.Retry), l.Interval)
	case seen.Plan.Work():
		wait = l.act(ctx, trigger)
	default:
		n.settleTurn(ctx, seen)
		if seen.Observation.ControlPlane {
			l.remember(ctx, trigger, seen.Observation)
		}
	}
	if p := seen.Plan.Paused; p != nil && !p.Until.IsZero() {
		wait = min(wait, max(p.Until.Sub(n.Now()), time.Second))
	}
	if next := seen.Plan.Next; !next.IsZero() {
		wait = min(wait, max(next.Sub(n.Now()), time.Second))
	}
	if blind(seen) {
		wait = min(wait, l.Retry)
	}
	return wait
}

// rememberAgain is when what is remembered of the cluster and of this node is compared
// again although nothing has changed on this node. A run does so besides, before it needs it.
const rememberAgain = 6 * time.Hour

// remember keeps what the cluster says of itself, and a copy of what is on disk: at the
// start, when something has woken the loop (an upgrade changes manifests), and now and then.
func (l *Loop) remember(ctx context.Context, trigger string, o Observation) {
	now := l.Node.Now()
	if ago := now.Sub(l.remembered); trigger == onTimer && 0 <= ago && ago < rememberAgain {
		return
	}
	l.remembered = now
	for _, err := range []error{l.Node.Remember(ctx), l.Node.Keep(o)} {
		if err != nil {
			l.notice(err.Error())
			l.remembered = time.Time{}
		}
	}
}

// onTimer is what triggers a look when nothing else does.
const onTimer = "timer"

// seen looks, and writes down what is on disk.
func (l *Loop) seen(ctx context.Context) Look {
	look := l.Node.Look(ctx, Wish{})
	if err := l.Node.noteContents(look.Observation.Certificates); err != nil {
		l.notice(err.Error())
	}
	l.looked(look)
	return look
}

// blind says that this look could not see what matters. A certificate is not valid yet:
// the clock is behind, perhaps only until it is set a moment after boot. Or the
// components of a control plane cannot be seen: one may have to be restarted. Nobody
// says when either is over.
func blind(seen Look) bool {
	o := seen.Observation
	return o.ControlPlane && cmp.Or(o.problem(problemContainers), o.problem(problemKubelet)) != "" ||
		slices.ContainsFunc(o.Certificates, func(c pki.Certificate) bool { return c.Leaf != nil && c.Kind != pki.Memory && o.At.Before(c.NotBefore) })
}

// act carries out what the look found, and looks again.
func (l *Loop) act(ctx context.Context, trigger string) time.Duration {
	n := l.Node
	_, acted, err := n.Act(ctx, Wish{}, trigger)
	if ctx.Err() != nil {
		return l.Interval
	}
	var blocked *BlockedError
	var locked *LockedError
	if errors.As(err, &blocked) || errors.As(err, &locked) {
		n.Log.Warn("not now", event(EventBlocked), zap.Error(err))
		l.looked(acted)
		return min(waits(acted.Plan, acted.Observation.node(), l.Retry), l.Interval)
	}
	after := l.seen(ctx)
	l.say(after, "run")
	l.Notify.Status(status(after))
	wait := l.Interval
	if after.Plan.Work() {
		wait = min(l.Retry, wait)
	}
	if next := after.Plan.Next; !next.IsZero() {
		wait = min(wait, max(next.Sub(n.Now()), time.Second))
	}
	if blind(after) {
		wait = min(wait, l.Retry)
	}
	return wait
}

// say logs what a look found: every decision once, and "nothing due" too.
func (l *Loop) say(seen Look, trigger string) {
	plan, log := seen.Plan, l.Node.Log
	for _, n := range plan.Notices {
		l.tell(n.Text, n.Severity)
	}
	for _, p := range seen.Observation.Problems {
		l.notice(p.What + ": " + p.Err)
	}
	summary := status(seen)
	finding := withoutDigits(fmt.Sprint(names(plan.Renew), components(plan.Restart), plan.Copies, plan.Blocked)) + plan.Next.String()
	if plan.Paused != nil {
		finding += plan.Paused.String()
	}
	fields := []zap.Field{zap.String("trigger", trigger), zap.String("summary", summary)}
	if finding == l.last {
		log.Debug("looked, nothing new", fields...)
		return
	}
	l.last = finding
	for i, d := range plan.Decisions { // there may be thousands: no search for each
		c := seen.Observation.Certificates[i]
		log.Debug("decided", zap.String("certificate", d.Certificate), zap.String("state", string(d.State)),
			zap.Time("not_after", c.NotAfter), zap.String("reason", d.Reason))
	}
	switch {
	case len(plan.Blocked) > 0:
		for _, g := range plan.Blocked {
			log.Warn("blocked", append(fields, event(EventBlocked), zap.String("gate", g.Name), zap.String("reason", g.Reason), zap.String("remedy", g.Remedy))...)
		}
	case plan.Work():
		if plan.Urgent != "" {
			log.Info("it waits for no window and no turn", event(EventPlanned), zap.String("reason", plan.Urgent))
		}
		for _, r := range plan.Renew {
			log.Info("certificate is due", event(EventPlanned), zap.String("certificate", r.Certificate), zap.Time("not_after", r.NotAfter), zap.String("reason", r.Reason))
		}
		for _, r := range plan.Restart {
			log.Info("component is to be restarted", event(EventPlanned), zap.String("component", r.Component), zap.String("reason", r.Reason))
		}
		for _, c := range plan.Copies {
			log.Info("copy is to be refreshed", event(EventPlanned), zap.String("path", c.Path), zap.String("certificate", c.Certificate), zap.String("reason", c.Reason))
		}
	default:
		log.Info("nothing due", append(fields, event(EventLooked), zap.Time("next", plan.Next), zap.String("next_reason", plan.NextReason))...)
	}
}

// notice says something that is wrong once, and again only after it was gone.
func (l *Loop) notice(text string) { l.tell(text, Warning) }

func (l *Loop) tell(text string, severity Severity) {
	if l.notices == nil {
		l.notices = map[string]bool{}
	}
	key := string(severity) + withoutDigits(text)
	if l.notices[key] {
		return
	}
	if len(l.notices) > 200 {
		clear(l.notices)
	}
	l.notices[key] = true
	l.Node.Log.Log(severity.level(), "needs attention", event(EventNotice), zap.String("reason", text))
}

// withoutDigits is a text without the times in it, which move from look to look. The
// digits of paths stay: they tell files apart.
func withoutDigits(text string) string {
	var b strings.Builder
	for word := range strings.SplitAfterSeq(text, " ") {
		if strings.HasPrefix(strings.TrimLeft(word, "("), "/") {
			b.WriteString(word)
			continue
		}
		b.WriteString(strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, word))
	}
	return b.String()
}

// status is the one line that systemctl status shows.
func status(seen Look) string {
	var first pki.Certificate
	for _, c := range seen.Observation.Certificates {
		if c.Leaf != nil && c.Kind != pki.CA && (first.Leaf == nil || c.NotAfter.Before(first.NotAfter)) {
			first = c
		}
	}
	text := "no certificates found"
	if first.Leaf != nil {
		text = fmt.Sprintf("%s expires first, %s", first.Name, first.NotAfter.UTC().Format(pki.TimeLayout))
	}
	blocked := slices.Clone(seen.Plan.Blocked)
	if p := seen.Plan.Paused; p != nil {
		// What comes first is what a person reads.
		seen.Plan.Paused, seen.Plan.Blocked = nil, slices.DeleteFunc(blocked, func(g Gate) bool { return g.Name == gatePaused })
		return p.String() + "; " + status(seen)
	}
	switch plan := seen.Plan; {
	case len(blocked) > 0:
		return fmt.Sprintf("blocked by %s; %s", blocked[0].Name, text)
	case len(plan.Renew) > 0:
		return fmt.Sprintf("%d to renew: %s; %s", len(plan.Renew), strings.Join(names(plan.Renew), ", "), text)
	case len(plan.Restart) > 0:
		return fmt.Sprintf("to restart: %s; %s", strings.Join(components(plan.Restart), ", "), text)
	case len(plan.Copies) > 0:
		return fmt.Sprintf("%d copies to refresh; %s", len(plan.Copies), text)
	case !plan.Next.IsZero():
		return fmt.Sprintf("nothing due until %s; %s", plan.Next.UTC().Format(pki.TimeLayout), text)
	default:
		return text
	}
}
