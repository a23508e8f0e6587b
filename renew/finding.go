package renew

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Finding is one thing about this node that an operator may want to know.
type Finding struct {
	// ID says what kind of thing it is. It never changes its meaning, and is the heading
	// of its entry in docs/troubleshooting.md.
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	// About is the certificate, file, unit or component.
	About string `json:"about,omitempty"`
	Found string `json:"found"`
	// Itself is what kubecertd does about it by itself, At when; Remedy is what the
	// operator has to do. Both may be empty, and both may be there.
	Itself string    `json:"itself,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Remedy string    `json:"remedy,omitempty"`
}

// Need is what a node as a whole needs, by the worst of its findings.
type Need int

const (
	// Nothing is wrong.
	Nothing Need = iota
	// Patience is needed: kubecertd sees to all that is wrong.
	Patience
	// Operator is needed.
	Operator
)

// NeedOf says what all findings together ask for.
func NeedOf(findings []Finding) Need {
	need := Nothing
	for _, f := range findings {
		switch {
		case f.Severity == Info:
		case f.Remedy != "":
			return Operator
		default:
			need = Patience
		}
	}
	return need
}

// Findings is everything about a node, worst first. It is a pure function.
func Findings(e Examination, policy Policy) []Finding {
	f := &findings{Examination: e, policy: policy, list: []Finding{}}
	f.ofDaemon()
	f.ofPause()
	if !f.Disk {
		f.ofComponents()
	}
	f.ofNotices()
	f.ofPlan()
	if !f.Disk {
		f.ofGates()
	}
	f.ofAPI()
	f.ofProblems()
	f.ofRuns()
	f.ofState()
	f.ofProofs()
	f.ofAuthorities()
	slices.SortStableFunc(f.list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(weight(a.Severity), weight(b.Severity)), cmp.Compare(alone(a), alone(b)))
	})
	return f.list
}

func weight(s Severity) int { return slices.Index([]Severity{Critical, Warning, Info}, s) }

// alone puts what waits for the operator before what does not.
func alone(f Finding) int {
	if f.Remedy != "" {
		return 0
	}
	return 1
}

// findings collects them.
type findings struct {
	Examination
	policy Policy
	list   []Finding
}

func (f *findings) add(found Finding) { f.list = append(f.list, found) }

func (f *findings) has(id, about string) bool {
	return slices.ContainsFunc(f.list, func(x Finding) bool { return x.ID == id && (about == "" || x.About == about) })
}

func (f *findings) ofDaemon() {
	switch d := f.Daemon; {
	case d.Known && !d.Running:
		f.add(Finding{ID: "daemon-down", Severity: Critical, About: "kubecertd.service",
			Found:  "the daemon does not run, so that nothing below happens by itself: " + d.Detail,
			Remedy: "systemctl enable --now kubecertd; systemctl status kubecertd; journalctl -u kubecertd"})
	case f.UnderWay != "":
		f.add(Finding{ID: "run-under-way", Severity: Info, Found: "a run is under way: process " + f.UnderWay,
			Itself: "it ends by itself; what is said here may be half of it"})
	}
}

func (f *findings) ofPause() {
	p := f.Plan.Paused
	if p == nil {
		return
	}
	found := Finding{ID: "paused", Severity: Warning, Found: "kubecertd is " + p.String(), At: p.Until}
	if p.Until.IsZero() {
		found.Remedy = "kubecertd resume"
	} else {
		found.Itself = "it goes on at that time; at once: kubecertd resume"
	}
	f.add(found)
}

// ofComponents says who should run and does not.
func (f *findings) ofComponents() {
	o := f.Observation
	if kubelet, seen := o.Component(Kubelet); seen {
		switch {
		case !kubelet.Running:
			f.add(Finding{ID: "kubelet-down", Severity: Critical, About: Kubelet, Found: "the kubelet is not active: " + kubelet.Detail,
				Remedy: "systemctl start kubelet; journalctl -u kubelet -n 50"})
		case f.Unhealthy != nil:
			f.add(Finding{ID: "kubelet-unhealthy", Severity: Critical, About: Kubelet, Found: "the kubelet runs and is not healthy: " + f.Unhealthy.Error(),
				Remedy: "journalctl -u kubelet -n 50"})
		}
	}
	if o.problem(problemContainers) != "" {
		return
	}
	helpless := missing(o, f.Plan)
	for _, name := range missing(o, Plan{}) {
		component, _ := o.Component(name)
		found := Finding{ID: "component-down", Severity: Critical, About: name, Found: name + " has a manifest but is not running"}
		if component.Detail != "" {
			found.Found += ": " + component.Detail
		}
		if slices.Contains(helpless, name) {
			found.Remedy = fmt.Sprintf("crictl ps -a --name '^%s$'; crictl logs its container; journalctl -u kubelet -n 50", name)
		} else {
			found.Itself, found.At = f.waiting("what it holds is renewed, and it starts with that"), f.soon()
		}
		f.add(found)
	}
}

// persistent is how often something fails in a row before a person should look.
const persistent = 3

// ofNotices are what the plan says besides what is to be done.
func (f *findings) ofNotices() {
	for _, n := range f.Plan.Notices {
		found := Finding{ID: n.ID, Severity: cmp.Or(n.Severity, Warning), About: n.About, Found: n.Text, Remedy: n.Remedy, At: n.At}
		if !n.At.IsZero() {
			found.Itself = f.waiting("it is tried again")
		}
		for _, step := range []string{"renew ", "restart ", "copy "} {
			if failure := f.Observation.Failures[step+n.About]; failure.Count >= persistent && found.Remedy == "" {
				found.Remedy = fmt.Sprintf("it has failed %d times in a row: kubecertd history %s", failure.Count, failure.Run)
			}
		}
		f.add(found)
	}
}

// ofPlan are what would be done now.
func (f *findings) ofPlan() {
	for _, r := range f.Plan.Renew {
		found := Finding{ID: "certificate-due", Severity: Warning, About: r.Certificate, At: f.soon(),
			Found:  fmt.Sprintf("%s is to be renewed: %s (%s)", r.Certificate, r.Reason, r.Path),
			Itself: f.waiting("it is renewed, and what holds it is restarted")}
		if !r.NotAfter.IsZero() && !f.Plan.At.Before(r.NotAfter) {
			found.Severity = Critical
		}
		f.add(found)
	}
	for _, r := range f.Plan.Restart {
		if reason := needed(f.Observation, f.Proofs, r.Component, f.policy); reason != "" {
			f.add(Finding{ID: "component-stale", Severity: Warning, About: r.Component, At: f.soon(),
				Found:  fmt.Sprintf("%s is to be restarted: %s", r.Component, reason),
				Itself: f.waiting("it is restarted, and proven to have loaded what is on disk")})
		}
	}
	for _, c := range f.Plan.Copies {
		f.add(Finding{ID: "copy-due", Severity: Warning, About: c.Path, At: f.soon(),
			Found:  fmt.Sprintf("%s is to be refreshed: %s", c.Path, c.Reason),
			Itself: f.waiting("it is given the new certificate and key")})
	}
}

// waiting is what kubecertd does by itself, and what must come first.
func (f *findings) waiting(does string) string {
	var first []string
	if f.Daemon.Known && !f.Daemon.Running {
		first = append(first, "the daemon runs")
	}
	var gates []string
	for _, g := range f.Plan.Blocked {
		gates = append(gates, g.Name)
	}
	if len(gates) > 0 {
		first = append(first, "these gates are open: "+strings.Join(gates, ", "))
	}
	if len(first) == 0 {
		return does
	}
	return does + " as soon as " + strings.Join(first, " and ")
}

// soon is when the daemon acts on the plan: now, unless something holds it back.
func (f *findings) soon() time.Time {
	if len(f.Plan.Blocked) > 0 || (f.Daemon.Known && !f.Daemon.Running) {
		return time.Time{}
	}
	return f.Plan.At
}

// ofAPI says that the API server is there and does not answer.
func (f *findings) ofAPI() {
	api, here := f.Observation.Component(APIServer)
	if f.Asked == nil || f.Observation.ControlPlane && (!here || !api.Running) {
		return // its being down is a finding of its own
	}
	found := Finding{ID: "api-unreachable", Severity: Warning, About: APIServer, Found: "the cluster cannot be asked: " + f.Asked.Error()}
	if f.Plan.certificates() {
		found.Itself, found.At = f.waiting("nothing below depends on it; what is renewed may cure it"), f.soon()
	} else {
		found.Remedy = "kubectl --kubeconfig /etc/kubernetes/kubelet.conf get --raw '/readyz?verbose'"
	}
	f.add(found)
}

// ofProblems are what could not be looked at.
func (f *findings) ofProblems() {
	for _, p := range f.Observation.Problems {
		found := Finding{ID: "not-observed", Severity: Warning, About: p.What, Found: p.What + " could not be looked at: " + p.Err,
			Remedy: "kubecertd status -o wide"}
		switch p.What {
		case problemContainers:
			found.ID, found.Severity, found.About, found.Found = "runtime-unreachable", Critical, "container runtime", "the container runtime does not answer: "+p.Err
			found.Remedy = "systemctl status containerd; crictl version"
		case problemKubelet:
			found.ID, found.Severity, found.About, found.Found = "systemd-unreachable", Critical, "systemd", "systemd does not answer: "+p.Err
			found.Remedy = "systemctl status dbus; systemctl daemon-reexec"
		case problemPaths:
			found.ID, found.About, found.Found, found.Remedy = "path-unreadable", "", "where things lie could not be read: "+p.Err, "repair that file; kubecertd status"
		case problemWatched:
			found.ID, found.Found, found.Remedy = "watch-unreadable", "the watched files could not be read: "+p.Err, "ls the directories of watch.files; mount"
		}
		f.add(found)
	}
	o := f.Observation
	if len(o.Certificates) == 0 {
		f.add(Finding{ID: "no-certificates", Severity: Warning, Found: "no certificates of a kubeadm cluster were found",
			Remedy: "is this node initialised or joined? kubecertd config show"})
	}
	said := map[string]bool{}
	for _, served := range o.Served {
		c, _ := o.Component(served.Endpoint.Component)
		if served.Error == "" || !c.Running || said[served.Error] {
			continue
		}
		said[served.Error] = true
		f.add(Finding{ID: "port-silent", Severity: Warning, About: served.Endpoint.Component,
			Found:  fmt.Sprintf("%s runs and shows no certificate at %s: %s", served.Endpoint.Component, served.Endpoint.Address, served.Error),
			Remedy: "ss -ltnp; kubecertd status -o wide"})
	}
}

// ofRuns says how the last run ended.
func (f *findings) ofRuns() {
	if f.Records != nil {
		f.add(Finding{ID: "record-unreadable", Severity: Warning, Found: "a record of a run cannot be read: " + f.Records.Error(),
			Itself: f.waiting("it is set aside at the next look, and what the run left is put right")})
	}
	if len(f.Runs) == 0 {
		return
	}
	last := f.Runs[len(f.Runs)-1]
	switch {
	case f.UnderWay != "":
	case last.Outcome == Unfinished && f.Records == nil:
		f.add(Finding{ID: "run-cut-off", Severity: Critical, About: last.ID, Found: "the last run was cut off: " + last.ID,
			Itself: f.waiting("what it left is put right at the next look"), At: f.soon()})
	case last.Outcome == Failed:
		found := Finding{ID: "run-failed", Severity: Info, About: last.ID, Found: fmt.Sprintf("the last run failed (%s): %s", last.ID, last.Error),
			Itself: "nothing of it is left to be done; kubecertd history " + last.ID + " has its steps"}
		if f.Plan.Work() || len(f.Observation.Failures) > 0 {
			found.Severity, found.Itself = Warning, f.waiting("what failed is tried again, later each time")
			found.Remedy = "kubecertd history " + last.ID
		}
		f.add(found)
	}
}

// ofState are what is kept on disk for the day it is needed.
func (f *findings) ofState() {
	if f.Damaged != nil {
		f.add(Finding{ID: "snapshot-damaged", Severity: Warning, Found: "a snapshot is damaged: " + f.Damaged.Error(),
			Remedy: "kubecertd backup list; remove the directory of that snapshot"})
	}
	if !f.Observation.ControlPlane {
		return
	}
	if f.Snapshots == 0 {
		f.add(Finding{ID: "snapshot-none", Severity: Info, Found: "there is no snapshot to go back to yet",
			Itself: "each run takes one before it changes anything"})
	}
	if f.Remembered != nil && !f.has("configuration-unknown", "") {
		found := Finding{ID: "configuration-not-remembered", Severity: Info, About: "cluster-configuration.yaml", Found: f.Remembered.Error()}
		if f.Asked == nil {
			found.Itself, found.At = f.waiting("it is read and remembered at the next look"), f.soon()
		} else {
			found.Severity = Warning
			found.Itself = "kubeadm is given one that is rebuilt from this node, until the cluster answers: " + f.Asked.Error()
		}
		f.add(found)
	}
}

// ofProofs are what is not known to be loaded, and no reason to act.
func (f *findings) ofProofs() {
	unknown := map[string][]Proof{}
	var names []string
	for _, p := range f.Proofs {
		if c, _ := f.Observation.Component(p.Component); p.Verdict == Unknown && c.Running {
			if unknown[p.Component] == nil {
				names = append(names, p.Component)
			}
			unknown[p.Component] = append(unknown[p.Component], p)
		}
	}
	for _, name := range names {
		var certificates []string
		found := Finding{ID: "not-proven", Severity: Info, About: name}
		for _, p := range unknown[name] {
			certificates = append(certificates, p.Certificate)
			if found.At.IsZero() || (!p.Until.IsZero() && p.Until.Before(found.At)) {
				found.At = p.Until
			}
		}
		found.Found = fmt.Sprintf("whether %s has loaded %s cannot be proven: %s", name, strings.Join(certificates, ", "), unknown[name][0].Evidence)
		if !found.At.IsZero() {
			found.Itself = f.waiting("it is looked at again")
		}
		f.add(found)
	}
}

// ofAuthorities says whose key is elsewhere.
func (f *findings) ofAuthorities() {
	var names []string
	for _, c := range f.Observation.Certificates {
		if c.State == pki.External && c.Renewer == pki.Kubeadm {
			names = append(names, c.Name)
		}
	}
	if len(names) > 0 {
		f.add(Finding{ID: "ca-elsewhere", Severity: Info, Found: "the key of their CA is not on this node, so that these are not renewed here: " + strings.Join(names, ", "),
			Itself: "they are watched, and said when they are due"})
	}
}
