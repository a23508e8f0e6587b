package renew

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Plan is what would be done now, and why.
type Plan struct {
	At      time.Time `json:"at"`
	Renew   []Renewal `json:"renew"`
	Restart []Restart `json:"restart"`
	// Down are the components that do not run and hold what is to be renewed: they start
	// with what is new. One that comes up before that has read what is old, and is
	// restarted with the rest.
	Down []string `json:"down,omitempty"`
	// Copies are the copies of admin.conf to be refreshed.
	Copies []Refresh `json:"copies,omitempty"`
	// Blocked are the gates that are closed. While there is one, nothing of the
	// plan is carried out.
	Blocked []Gate `json:"blocked"`
	// Notices are what is wrong and cannot be cured by this plan.
	Notices Notices `json:"notices,omitempty"`
	// Turn is whose turn it is, where this plan needs it.
	Turn *SeenTurn `json:"turn,omitempty"`
	// Urgent is why what is to be done waits for no maintenance window and no other
	// node's turn; empty when it can wait.
	Urgent string `json:"urgent,omitempty"`
	// Paused is the pause that is in force, also when there is nothing to do.
	Paused *Pause `json:"paused,omitempty"`
	// KubeletFirst is why the kubelet is restarted before anything else: it would let
	// what is stopped wait. Empty when it would not.
	KubeletFirst string `json:"kubeletFirst,omitempty"`
	// Afresh is why the whole control plane of this node is started afresh: nothing of it
	// works that a restart in order would protect. Empty when it is not.
	Afresh string `json:"afresh,omitempty"`
	// Alone says that no other control-plane node shares this node's etcd, so that
	// there is no quorum to protect and etcd and kube-apiserver go down together.
	Alone bool `json:"alone"`
	// Next is when the next certificate becomes due; zero when none ever will.
	Next       time.Time `json:"next,omitzero"`
	NextReason string    `json:"nextReason,omitempty"`
	// Decisions is the policy's word on every certificate, in their order.
	Decisions []Decided `json:"decisions"`
}

// Decided is the decision about one certificate.
type Decided struct {
	Certificate string `json:"certificate"`
	Watched     bool   `json:"watched,omitempty"`
	Decision
}

// Renewal is one certificate to be renewed.
type Renewal struct {
	Certificate string    `json:"certificate"`
	Path        string    `json:"path"`
	NotAfter    time.Time `json:"notAfter"`
	Reason      string    `json:"reason"`
	// Repair is how it is repaired first; nil where it is not damaged.
	Repair *Repair `json:"repair,omitempty"`
	// Cure is how the kubelet's client certificate is put right; empty for all others.
	Cure Cure `json:"cure,omitempty"`
}

// Restart is one component to be restarted.
type Restart struct {
	Component string `json:"component"`
	Reason    string `json:"reason"`
}

// Gate is a condition that must hold before anything is touched. Only closed
// gates are listed.
type Gate struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	// Remedy is what the operator can do.
	Remedy string `json:"remedy"`
}

// Wish is what a person asked for beyond what is due.
type Wish struct {
	All   bool     // every certificate that kubeadm renews
	Names []string // these certificates
}

func (w Wish) any() bool { return w.All || len(w.Names) > 0 }

func (w Wish) wants(name string) bool { return w.All || slices.Contains(w.Names, name) }

// Work says whether the plan holds anything to do.
func (p Plan) Work() bool { return p.certificates() || len(p.Copies) > 0 }

// certificates says whether it renews or restarts anything.
func (p Plan) certificates() bool { return len(p.Renew)+len(p.Restart) > 0 }

// Decide says what would be done now about what was observed. It is a pure
// function: the gates that only the node can answer for are added by Node.Plan.
func Decide(o Observation, policy Policy, wish Wish) Plan {
	p := Plan{At: o.At, Renew: []Renewal{}, Restart: []Restart{}, Blocked: []Gate{}, Paused: o.Paused}
	proofs := Prove(o)
	var watched Notices

	p.Decisions = make([]Decided, 0, len(o.Certificates))
	with := alongWith(o, policy)
	for _, c := range o.Certificates {
		d, repair := mend(o, policy, wish, c, policy.along(c, policy.Decide(c, o.At), with, o.At))
		fault := KubeletFault{}
		if c.Kubelet != nil {
			d, fault = decideKubelet(o, policy, c, d, wish)
		}
		if c.Renewer == pki.Kubeadm && c.CAKeyHere && c.Leaf != nil && !d.Renew && wish.wants(c.Name) {
			d.Renew, d.Reason = true, "asked for; "+d.Reason
		}
		if d.Renew && repair == nil && fault.Cure == "" && !wish.wants(c.Name) {
			d = restrained(o, policy, c, d)
		}
		if why := o.worthless(c.CA); d.Renew && why != "" && !slices.Contains(wish.Names, c.Name) {
			d.Renew, d.At, d.Reason = false, time.Time{}, d.Reason+"; "+why
		}
		p.Decisions = append(p.Decisions, Decided{c.Name, c.Watched, d})
		switch {
		case d.Renew:
			p.Renew = append(p.Renew, Renewal{c.Name, c.Path, c.NotAfter, d.Reason, repair, fault.Cure})
		case d.At.After(o.At) && (p.Next.IsZero() || d.At.Before(p.Next)):
			p.Next, p.NextReason = d.At, c.Name+" becomes due"
		case !d.Alarm.IsZero() && (p.Next.IsZero() || d.Alarm.Before(p.Next)):
			p.Next, p.NextReason = d.Alarm, c.Name+" becomes due"
			if d.Alarm.Equal(c.NotAfter) {
				p.NextReason = c.Name + " expires"
			}
		}
		if w := worn(o, policy, c); w.worn() {
			if !w.until.IsZero() && (p.Next.IsZero() || w.until.Before(p.Next)) {
				p.Next, p.NextReason = w.until, c.Name+" is tried again"
			}
			if w.not != "" {
				p.notice(w.notice())
			}
			continue
		}
		if notice := fault.notice(noticeOf(c, d)); notice.Text != "" {
			if remedy := policy.Remedies[c.Path]; c.Watched && remedy != "" {
				notice.Remedy, notice.Text = remedy, notice.Text+"; make it anew: "+remedy
			}
			if c.Watched {
				watched = append(watched, notice)
			} else {
				p.notice(notice)
			}
		}
	}
	if more := len(watched) - mostWatched; more > 0 {
		watched = append(watched[:mostWatched], Notice{ID: "watched-certificate", Severity: Critical, Remedy: "kubecertd status",
			Text: fmt.Sprintf("%d more watched certificates are not as they should be: kubecertd status", more)})
	}
	p.Notices = append(p.Notices, watched...)

	for _, name := range order(o.Others) {
		component, _ := o.Component(name)
		if !component.Running {
			continue // whoever starts it will start it with what is on disk
		}
		reason := restartReason(o, proofs, p.Renew, name, policy)
		if reason == "" {
			continue
		}
		if why := o.orphaned(name); why != "" {
			p.notice(Notice{ID: "ca-unusable", About: name, Severity: Critical, Text: fmt.Sprintf("%s is not restarted (%s): %s", name, reason, why), Remedy: replaceCA})
			continue
		}
		if until, why := o.held(policy.Retry, "restart "+name, unlimited); why != "" && len(p.Renew) == 0 && !wish.any() {
			p.notice(Notice{ID: NoticeRestartFailed, About: name, Severity: Critical, At: until, Text: fmt.Sprintf("the restart of %s %s", name, why)})
			if p.Next.IsZero() || until.Before(p.Next) {
				p.Next, p.NextReason = until, "the restart of "+name+" is tried again"
			}
			continue
		}
		p.Restart = append(p.Restart, Restart{name, reason})
	}
	p.hold(o, proofs, policy, wish)
	p.mendFirst()
	p.Down = down(o, p)
	p.Urgent = p.urgent(o, policy)
	p.Notices = append(p.Notices, authorities(o)...)
	decideCopies(o, policy, &p)
	decideServing(o, policy, &p)
	switch {
	case p.certificates():
		p.Blocked = append(p.Blocked, gates(o, p)...)
	case p.Work():
		p.Blocked = append(p.Blocked, excluded(o.Paused, o.Busy)...)
	}
	p.KubeletFirst = remembered(o, components(p.Restart))
	for _, proof := range proofs {
		switch {
		case !proof.Until.IsZero() && (p.Next.IsZero() || proof.Until.Before(p.Next)):
			p.Next, p.NextReason = proof.Until, proof.Component+" should have loaded "+proof.Certificate
		case proof.Verdict != Stale:
		case !proof.Older:
			p.notice(Notice{ID: "stale-though-newer", About: proof.Component, Severity: Warning, Text: fmt.Sprintf(
				"%s has not loaded %s (%s) although it started after the file was written: restarting would not help; compare the paths in its manifest",
				proof.Component, proof.Certificate, proof.Evidence),
				Remedy: "compare the paths on its command line with kubecertd status -o wide"})
		case policy.Restart.For(proof.Component) == RestartNever:
			p.notice(Notice{ID: "stale-not-restarted", About: proof.Component, Severity: Warning, Text: fmt.Sprintf("%s has not loaded %s (%s), and is not to be restarted (restart.policy is never): restart it yourself",
				proof.Component, proof.Certificate, proof.Evidence), Remedy: restartYourself(proof.Component)})
		}
	}
	return p
}

// NoticeRestartFailed is that the restart of a component has failed and is tried again.
const NoticeRestartFailed = "restart-failed"

// mostWatched is how many watched certificates are named one by one when something is
// wrong with them: a directory whose files have all run out is one alarm.
const mostWatched = 20

// unlimited is for what has no end that comes near.
const unlimited = 1 << 62

// restrained takes back the renewal of a certificate that it would not help, or that
// has just failed.
func restrained(o Observation, policy Policy, c pki.Certificate, d Decision) Decision {
	// The new one would end where this one does: kubeadm is made to issue none that
	// outlives its CA.
	if ca, here := o.Certificate(c.CA); here && ca.Leaf != nil && c.State != pki.Expired && ca.State != pki.Expired &&
		c.NotAfter.After(ca.NotAfter.Add(-withItsCA)) {
		d.Renew, d.At = false, time.Time{}
		d.Reason = fmt.Sprintf("it ends with its CA %s (%s), and so would a new one: replace the CA", ca.Name, ca.NotAfter.UTC().Format(pki.TimeLayout))
		return d
	}
	if until, why := o.held(policy.Retry, "renew "+c.Name, c.Remaining(o.At)); why != "" {
		d.Renew, d.At, d.Reason = false, until, d.Reason+"; its renewal "+why
	}
	return d
}

// withItsCA is how near a leaf's end is to its CA's for a new leaf to end no later.
const withItsCA = time.Hour

// restartReason says why a component is to be restarted, or "" if it is not.
func restartReason(o Observation, proofs []Proof, renewals []Renewal, component string, policy Policy) string {
	var renewed []string
	for _, h := range o.holdings() {
		if h.Component == component && policy.Restart.renewed(h) && slices.ContainsFunc(renewals, func(r Renewal) bool { return r.Certificate == h.Certificate }) {
			renewed = append(renewed, h.Certificate)
		}
	}
	if len(renewed) > 0 {
		return together("holds "+strings.Join(renewed, ", "), cured(o, policy, component))
	}
	return needed(o, proofs, component, policy)
}

// gates are the conditions that follow from what was observed.
func gates(o Observation, p Plan) []Gate {
	closed := slices.Concat(excluded(o.Paused, o.Busy), clockGate(o.Clock))
	for _, ca := range o.Certificates {
		// An expired CA signs, and what it signs is worthless: kubeadm warns and goes
		// on (kubeadm: phases/certs/renewal/manager.go).
		if ca.Kind == pki.CA && ca.State != pki.OK && ca.State != pki.External && signs(o, p, ca.Name) {
			closed = append(closed, Gate{"ca " + ca.Name, fmt.Sprintf("%s is %s: %s", ca.Path, ca.State, ca.Reason),
				replaceCA})
		}
	}
	if why := o.problem(problemKubelet); why != "" {
		closed = append(closed, Gate{"systemd", why,
			"the kubelet's unit cannot be asked: is systemd's D-Bus there? (systemctl status dbus)"})
	} else if kubelet, ok := o.Component(Kubelet); !ok || !kubelet.Running && (!p.Mends() || kubelet.Stopped) {
		closed = append(closed, Gate{"kubelet", "the kubelet is not active: " + kubelet.Detail,
			"no container is stopped that nobody would bring back: systemctl start kubelet; journalctl -u kubelet"})
	}
	// A kubelet whose own certificate has run out cannot start again, and would not
	// be missed until it had to (kubelet: certificate/bootstrap/bootstrap.go).
	if c, ok := o.Certificate(kubeletClient); ok && c.State != pki.OK && c.State != pki.External && !p.Mends() {
		closed = append(closed, Gate{"kubelet-client", fmt.Sprintf("the kubelet's client certificate is %s: %s", c.State, c.Reason),
			"a kubelet that could not start again is never stopped: repair " + c.Path + " first (https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/troubleshooting-kubeadm/#kubelet-client-cert)"})
	}
	if why := o.problem(problemContainers); why != "" {
		closed = append(closed, Gate{"containers", why, "the container runtime must answer before anything is touched: systemctl status containerd"})
	} else if slices.ContainsFunc(p.Restart, func(r Restart) bool { return r.Component != Kubelet }) || len(p.Renew) > 0 && !p.Mends() {
		for _, name := range missing(o, p) {
			closed = append(closed, Gate{"component " + name, name + " has a manifest but is not running",
				"it must run before anything else is restarted: crictl ps -a; journalctl -u kubelet"})
		}
	}
	return closed
}

// gatePaused is the gate that a person has closed.
const gatePaused = "paused"

// excluded are the gates of what else has to do with this node now.
func excluded(paused *Pause, busy []Busy) []Gate {
	var closed []Gate
	if paused != nil {
		closed = append(closed, Gate{gatePaused, paused.String(), "it goes on by itself afterwards; at once: kubecertd resume"})
	}
	for _, b := range busy {
		closed = append(closed, Gate{"host", b.Detail, "it is waited for, and this follows by itself; should it hang: ps -fp " + cmp.Or(b.PID, "PID")})
	}
	return closed
}

// signs says whether the CA would have to sign something of the plan.
func signs(o Observation, p Plan, ca string) bool {
	return slices.ContainsFunc(p.Renew, func(r Renewal) bool {
		c, _ := o.Certificate(r.Certificate)
		return c.CA == ca
	})
}

// down names the components that do not run and hold what is to be renewed.
func down(o Observation, p Plan) []string {
	return slices.DeleteFunc(order(o.Others), func(name string) bool {
		c, _ := o.Component(name)
		return c.Running || !slices.ContainsFunc(p.Renew, func(r Renewal) bool { return o.holds(name, r.Certificate) })
	})
}

// missing names kubeadm's static pods that hold certificates here and do not run. One
// that holds what is to be renewed is not among them: it may be down because of that, and
// will start with what is new; nor is one that needs such a one. Those of others keep
// nobody from being restarted.
func missing(o Observation, p Plan) []string {
	var names []string
	curable := map[string]bool{}
	for _, name := range Order {
		component, _ := o.Component(name)
		cured := slices.ContainsFunc(p.Renew, func(r Renewal) bool { return o.holds(name, r.Certificate) })
		curable[name] = !component.Running && (cured || curable[needs[name]])
	}
	for _, h := range Holdings {
		c, here := o.Certificate(h.Certificate)
		if h.Component == Kubelet || !here || c.State == pki.Missing || slices.Contains(names, h.Component) {
			continue
		}
		// One that is down because its CA has run out keeps nobody from being renewed whom no
		// restart follows.
		lost := len(p.Restart) == 0 && o.orphaned(h.Component) != ""
		if component, _ := o.Component(h.Component); !component.Running && !curable[h.Component] && !lost {
			names = append(names, h.Component)
		}
	}
	return names
}

func names(renewals []Renewal) []string {
	var list []string
	for _, r := range renewals {
		list = append(list, r.Certificate)
	}
	return list
}

func components(restarts []Restart) []string {
	var list []string
	for _, r := range restarts {
		list = append(list, r.Component)
	}
	return list
}

// needs is without what a component does not stay up.
var needs = map[string]string{APIServer: Etcd, ControllerManager: APIServer, Scheduler: APIServer}
