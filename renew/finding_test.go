package renew_test

import (
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// strangeNode is a node on which something is wrong, and what doctor calls that.
type strangeNode struct {
	name     string
	id       string // of the finding that is looked for
	about    string
	severity renew.Severity
	need     renew.Need // of the whole node
	change   func(*renew.Examination)
}

var examined = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// examination is one of a healthy control-plane node with little on it.
func examination() renew.Examination {
	leaf := &x509.Certificate{}
	certificate := func(name, ca string) pki.Certificate {
		return pki.Certificate{Name: name, Kind: pki.PEM, Renewer: pki.Kubeadm, Path: "/etc/kubernetes/pki/" + name + ".crt", CA: ca, CAKeyHere: true,
			State: pki.OK, Leaf: leaf, SHA256: name, Issued: examined.Add(-65 * pkitest.Day), NotBefore: examined.Add(-65 * pkitest.Day),
			NotAfter: examined.Add(300 * pkitest.Day), Changed: examined.Add(-65 * pkitest.Day)}
	}
	ca := certificate("ca", "")
	ca.Kind, ca.Renewer, ca.NotAfter = pki.CA, pki.Nobody, examined.Add(3000*pkitest.Day)
	client, server := certificate("kubelet-client", "ca"), certificate("kubelet-server", "")
	client.Renewer, server.Renewer = pki.Kubelet, pki.Restart
	return renew.Examination{
		Look: renew.Look{Observation: renew.Observation{At: examined, ControlPlane: true,
			Certificates: []pki.Certificate{certificate("apiserver", "ca"), certificate("scheduler.conf", "ca"), client, server, ca},
			Components: []renew.Component{
				{Name: renew.APIServer, Version: "v1.36.3", Running: true, Detail: "running", Started: examined.Add(-60 * pkitest.Day)},
				{Name: renew.Scheduler, Version: "v1.36.3", Running: true, Detail: "running", Started: examined.Add(-60 * pkitest.Day)},
				{Name: renew.Kubelet, Running: true, Detail: "kubelet.service is active (running)", Started: examined.Add(-60 * pkitest.Day)},
			},
			Served: []pki.Served{{Endpoint: pki.Endpoint{Component: renew.APIServer, Name: "apiserver", Certificate: "apiserver"}, SHA256: "apiserver"},
				{Endpoint: pki.Endpoint{Component: renew.Kubelet, Name: "kubelet-server", Certificate: "kubelet-server"}, SHA256: "kubelet-server"}},
		}},
		Daemon:    renew.Daemon{Known: true, Running: true, Detail: "process 1"},
		Snapshots: 1,
	}
}

// judged decides about an examination and returns what is found.
func judged(e renew.Examination) []renew.Finding {
	blocked, notices := e.Plan.Blocked, e.Plan.Notices
	e.Proofs = renew.Prove(e.Observation)
	e.Plan = renew.Decide(e.Observation, findingPolicy, renew.Wish{})
	e.Plan.Blocked, e.Plan.Notices = append(e.Plan.Blocked, blocked...), append(e.Plan.Notices, notices...)
	return renew.Findings(e, findingPolicy)
}

var findingPolicy = renew.Policy{Before: 30 * pkitest.Day, Retry: renew.Retry{After: time.Minute, Limit: 4 * time.Hour},
	Restart: renew.RestartPolicies{Of: map[string]renew.RestartPolicy{renew.ControllerManager: renew.RestartNever}}}

func certificateOf(e *renew.Examination, name string) *pki.Certificate {
	o := &e.Observation
	return &o.Certificates[slices.IndexFunc(o.Certificates, func(c pki.Certificate) bool { return c.Name == name })]
}

func processOf(e *renew.Examination, name string) *renew.Component {
	o := &e.Observation
	return &o.Components[slices.IndexFunc(o.Components, func(c renew.Component) bool { return c.Name == name })]
}

func endsIn(c *pki.Certificate, left time.Duration) {
	c.NotAfter = examined.Add(left)
	if left < 0 {
		c.State, c.Reason = pki.Expired, "it has expired"
	}
}

func hasFailed(step string, count int) func(*renew.Examination) {
	return func(e *renew.Examination) {
		e.Observation.Failures = map[string]renew.Failure{step: {Count: count, Run: "r1", Last: examined.Add(-time.Second), Error: "no"}}
	}
}

func andAlso(first, second func(*renew.Examination)) func(*renew.Examination) {
	return func(e *renew.Examination) { first(e); second(e) }
}

func apiserverDue(e *renew.Examination) { endsIn(certificateOf(e, "apiserver"), 10*pkitest.Day) }

func notSeen(what string) func(*renew.Examination) {
	return func(e *renew.Examination) {
		e.Observation.Problems = append(e.Observation.Problems, renew.Problem{What: what, Err: "no answer"})
	}
}

func gateClosed(name, reason string) func(*renew.Examination) {
	return func(e *renew.Examination) {
		e.Plan.Blocked = []renew.Gate{{Name: name, Reason: reason, Remedy: "do something"}}
	}
}

// noticed is for what a look sees of the rest of the cluster, and a plan says.
func noticed(n renew.Notice) func(*renew.Examination) {
	return func(e *renew.Examination) { e.Plan.Notices = renew.Notices{n} }
}

func rehearsed(name, reason string) func(*renew.Examination) {
	return func(e *renew.Examination) {
		e.Rehearsal = []renew.Gate{{Name: name, Reason: reason, Remedy: "do something"}}
	}
}

// copyOf adds a copy of what was in admin.conf before.
func copyOf(c renew.SeenCopy) func(*renew.Examination) {
	return func(e *renew.Examination) {
		now := *certificateOf(e, "apiserver")
		now.Name, now.SHA256, now.KeyMatches = "admin.conf", "new", true
		e.Observation.Certificates = append(e.Observation.Certificates, now)
		c.Path = "/home/a/.kube/config"
		e.Observation.Copies, e.Observation.Before = []renew.SeenCopy{c}, map[string]string{"old": "admin.conf"}
	}
}

var oldUser = []pki.CopyUser{{Name: "admin", SHA256: "old", KeyMatches: true, NotAfter: examined.Add(5 * pkitest.Day)}}

var oneRequest = []renew.SigningRequest{{Name: "csr-1"}}

// hasAsked is a node whose kubelet has no serving certificate yet, and has to ask for one.
func hasAsked(s renew.Serving) func(*renew.Examination) {
	return func(e *renew.Examination) {
		c := certificateOf(e, "kubelet-server")
		c.Renewer, c.State, c.Optional, c.Leaf = pki.Kubelet, pki.Missing, true, nil
		c.Path = "/var/lib/kubelet/pki/kubelet-server-current.pem"
		e.Observation.Served, e.Observation.Serving = e.Observation.Served[:1], &s
	}
}

var strangeNodes = []strangeNode{
	{"nobody runs the daemon", "daemon-down", "kubecertd.service", renew.Critical, renew.Operator,
		func(e *renew.Examination) {
			e.Daemon = renew.Daemon{Known: true, Detail: "kubecertd.service is failed (failed)"}
		}},
	{"a run is under way", "run-under-way", "", renew.Info, renew.Nothing, func(e *renew.Examination) { e.UnderWay = "17" }},
	{"paused for an hour", "paused", "", renew.Warning, renew.Patience,
		func(e *renew.Examination) { e.Observation.Paused = &renew.Pause{Until: examined.Add(time.Hour)} }},
	{"paused for ever", "paused", "", renew.Warning, renew.Operator, func(e *renew.Examination) { e.Observation.Paused = &renew.Pause{} }},
	{"the kubelet is down", "kubelet-down", renew.Kubelet, renew.Critical, renew.Operator,
		func(e *renew.Examination) { processOf(e, renew.Kubelet).Running = false }},
	{"the kubelet hangs", "kubelet-unhealthy", renew.Kubelet, renew.Critical, renew.Operator,
		func(e *renew.Examination) { e.Unhealthy = errors.New("GET healthz: no answer") }},
	{"the scheduler is down", "component-down", renew.Scheduler, renew.Critical, renew.Operator,
		func(e *renew.Examination) { processOf(e, renew.Scheduler).Running = false }},
	{"the scheduler is down because of what is renewed", "component-down", renew.Scheduler, renew.Critical, renew.Patience,
		func(e *renew.Examination) {
			processOf(e, renew.Scheduler).Running = false
			endsIn(certificateOf(e, "scheduler.conf"), -time.Hour)
		}},
	{"due", "certificate-due", "apiserver", renew.Warning, renew.Patience, apiserverDue},
	{"expired, and renewed now", "certificate-due", "apiserver", renew.Critical, renew.Patience,
		func(e *renew.Examination) { endsIn(certificateOf(e, "apiserver"), -time.Hour) }},
	{"expired, and the CA is elsewhere", "certificate-expired", "apiserver", renew.Critical, renew.Operator,
		func(e *renew.Examination) {
			c := certificateOf(e, "apiserver")
			endsIn(c, -time.Hour)
			c.CAKeyHere = false
		}},
	{"due, and the CA is elsewhere", "renewal-impossible", "apiserver", renew.Warning, renew.Operator,
		func(e *renew.Examination) { apiserverDue(e); certificateOf(e, "apiserver").CAKeyHere = false }},
	{"missing", "certificate-missing", "apiserver", renew.Critical, renew.Operator,
		func(e *renew.Examination) {
			c := certificateOf(e, "apiserver")
			c.State, c.Leaf, c.Reason = pki.Missing, nil, "there is no such file"
			certificateOf(e, "ca").CAKeyHere = false // or it would be made anew
		}},
	{"invalid", "certificate-invalid", "apiserver", renew.Critical, renew.Operator,
		func(e *renew.Examination) {
			c := certificateOf(e, "apiserver")
			c.State, c.Leaf, c.Reason = pki.Invalid, nil, "it cannot be parsed"
			certificateOf(e, "ca").CAKeyHere = false
		}},
	{"the CA ends in a month", "ca-ends", "ca", renew.Critical, renew.Operator, func(e *renew.Examination) {
		endsIn(certificateOf(e, "ca"), 29*24*time.Hour)
		certificateOf(e, "ca").Leaf = &x509.Certificate{}
	}},
	{"the CA is being replaced", "ca-replaced", "ca", renew.Info, renew.Nothing, func(e *renew.Examination) {
		certificateOf(e, "ca").Leaf, certificateOf(e, "ca").Bundle = &x509.Certificate{}, []pki.Trusted{{Subject: "CN=old"}}
	}},
	{"the CA has expired", "ca-unusable", "ca", renew.Critical, renew.Operator, func(e *renew.Examination) { endsIn(certificateOf(e, "ca"), -time.Hour) }},
	{"the kubelet's own has expired", "kubelet-client-unusable", "kubelet-client", renew.Critical, renew.Operator,
		func(e *renew.Examination) { endsIn(certificateOf(e, "kubelet-client"), -time.Hour) }},
	{"what the kubelet serves is broken", "kubelet-server-unusable", "kubelet-server", renew.Critical, renew.Operator,
		func(e *renew.Examination) {
			c := certificateOf(e, "kubelet-server")
			c.State, c.Reason = pki.Invalid, "it cannot be parsed"
		}},
	{"nobody has approved what the kubelet serves", "csr-pending", "kubelet-server", renew.Critical, renew.Operator, hasAsked(renew.Serving{Requests: oneRequest})},
	{"it is approved now", "csr-approving", "kubelet-server", renew.Critical, renew.Patience, hasAsked(renew.Serving{Requests: oneRequest, Approving: true})},
	{"it asks for another's name", "csr-refused", "kubelet-server", renew.Critical, renew.Operator,
		hasAsked(renew.Serving{Requests: oneRequest, Approving: true, Refused: "the name is not this host's"})},
	{"it was denied", "csr-denied", "kubelet-server", renew.Critical, renew.Operator,
		hasAsked(renew.Serving{Requests: []renew.SigningRequest{{Name: "csr-1", Denied: true, Said: "No: never"}}})},
	{"it could not be signed", "csr-failed", "kubelet-server", renew.Critical, renew.Operator,
		hasAsked(renew.Serving{Requests: []renew.SigningRequest{{Name: "csr-1", Approved: true, Failed: true, Said: "No: never"}}})},
	{"it is not signed", "csr-unsigned", "kubelet-server", renew.Critical, renew.Operator,
		hasAsked(renew.Serving{Requests: []renew.SigningRequest{{Name: "csr-1", Approved: true}}})},
	{"the kubelet does not ask", "csr-missing", "kubelet-server", renew.Critical, renew.Operator, hasAsked(renew.Serving{})},
	{"it cannot be seen", "csr-unseen", "kubelet-server", renew.Critical, renew.Operator, hasAsked(renew.Serving{Error: "no answer"})},
	{"a watched one has expired", "watched-certificate", "/srv/a.pem", renew.Critical, renew.Operator,
		func(e *renew.Examination) {
			e.Observation.Certificates = append(e.Observation.Certificates, pki.Certificate{Name: "/srv/a.pem", Path: "/srv/a.pem", Watched: true, State: pki.Expired, Reason: "it has expired"})
		}},
	{"a renewal has failed", "renewal-failed", "apiserver", renew.Warning, renew.Patience, andAlso(apiserverDue, hasFailed("renew apiserver", 1))},
	{"a renewal keeps failing", "renewal-failed", "apiserver", renew.Warning, renew.Operator, andAlso(apiserverDue, hasFailed("renew apiserver", 3))},
	{"a restart has failed", "restart-failed", renew.Scheduler, renew.Critical, renew.Patience,
		andAlso(func(e *renew.Examination) { certificateOf(e, "scheduler.conf").Changed = examined.Add(-time.Minute) }, hasFailed("restart kube-scheduler", 1))},
	{"a process is older than its file", "component-stale", renew.Scheduler, renew.Warning, renew.Patience,
		func(e *renew.Examination) { certificateOf(e, "scheduler.conf").Changed = examined.Add(-time.Minute) }},
	{"a process serves another file", "stale-though-newer", renew.APIServer, renew.Warning, renew.Operator,
		func(e *renew.Examination) { e.Observation.Served[0].SHA256 = "other" }},
	{"a process is older than its file, and is left alone", "stale-not-restarted", renew.ControllerManager, renew.Warning, renew.Operator,
		func(e *renew.Examination) {
			c := *certificateOf(e, "scheduler.conf")
			c.Name, c.Changed = "controller-manager.conf", examined.Add(-time.Minute)
			e.Observation.Certificates = append(e.Observation.Certificates, c)
			e.Observation.Components = append(e.Observation.Components,
				renew.Component{Name: renew.ControllerManager, Version: "v1.36.3", Running: true, Started: examined.Add(-time.Hour)})
		}},
	{"what the kubelet made wears out and is not served", "own-certificate", "kubelet-server", renew.Warning, renew.Operator,
		func(e *renew.Examination) {
			endsIn(certificateOf(e, "kubelet-server"), 10*pkitest.Day)
			e.Observation.Served[1].SHA256 = "other"
		}},
	{"a copy has what was before", "copy-due", "/home/a/.kube/config", renew.Warning, renew.Patience,
		copyOf(renew.SeenCopy{Copy: pki.Copy{Configured: true, Users: oldUser}})},
	{"a copy that nobody named", "copy-stale", "/home/a/.kube/config", renew.Warning, renew.Operator,
		copyOf(renew.SeenCopy{Copy: pki.Copy{Users: oldUser}})},
	{"a copy that cannot be read", "copy-unreadable", "/home/a/.kube/config", renew.Warning, renew.Operator,
		copyOf(renew.SeenCopy{Copy: pki.Copy{Configured: true, Problem: "no kubeconfig"}})},
	{"a copy that failed", "copy-failed", "/home/a/.kube/config", renew.Warning, renew.Patience,
		andAlso(copyOf(renew.SeenCopy{Copy: pki.Copy{Configured: true, Users: oldUser}}), hasFailed("copy /home/a/.kube/config", 1))},
	{"the API does not answer", "api-unreachable", renew.APIServer, renew.Warning, renew.Operator,
		func(e *renew.Examination) { e.Asked = errors.New("no answer within 3s") }},
	{"the runtime does not answer", "runtime-unreachable", "container runtime", renew.Critical, renew.Operator, notSeen("containers")},
	{"systemd does not answer", "systemd-unreachable", "systemd", renew.Critical, renew.Operator, notSeen("kubelet")},
	{"a manifest cannot be read", "path-unreadable", "", renew.Warning, renew.Operator, notSeen("paths")},
	{"watched files hang", "watch-unreadable", "watch.files", renew.Warning, renew.Operator, notSeen("watch.files")},
	{"something else could not be seen", "not-observed", "the moon", renew.Warning, renew.Operator, notSeen("the moon")},
	{"nothing is here", "no-certificates", "", renew.Warning, renew.Operator,
		func(e *renew.Examination) { e.Observation = renew.Observation{At: examined} }},
	{"a port does not answer", "port-silent", renew.APIServer, renew.Warning, renew.Operator,
		func(e *renew.Examination) {
			e.Observation.Served[0] = pki.Served{Endpoint: e.Observation.Served[0].Endpoint, Error: "no answer"}
		}},
	{"a run was cut off", "run-cut-off", "r1", renew.Critical, renew.Patience,
		func(e *renew.Examination) { e.Runs = []renew.Run{{ID: "r1", Outcome: renew.Unfinished}} }},
	{"the last run failed, and nothing is left of it", "run-failed", "r1", renew.Info, renew.Nothing,
		func(e *renew.Examination) { e.Runs = []renew.Run{{ID: "r1", Outcome: renew.Failed, Error: "no"}} }},
	{"the last run failed", "run-failed", "r1", renew.Warning, renew.Operator,
		andAlso(apiserverDue, func(e *renew.Examination) { e.Runs = []renew.Run{{ID: "r1", Outcome: renew.Failed, Error: "no"}} })},
	{"a record cannot be read", "record-unreadable", "", renew.Warning, renew.Patience,
		func(e *renew.Examination) { e.Records = errors.New("line 1") }},
	{"a snapshot is damaged", "snapshot-damaged", "", renew.Warning, renew.Operator,
		func(e *renew.Examination) { e.Damaged = errors.New("snapshot s1") }},
	{"no snapshot", "snapshot-none", "", renew.Info, renew.Nothing, func(e *renew.Examination) { e.Snapshots = 0 }},
	{"the configuration is read next time", "configuration-not-remembered", "cluster-configuration.yaml", renew.Info, renew.Nothing,
		func(e *renew.Examination) {
			e.Remembered = errors.New("the cluster configuration is not known: it was never read from the API server")
		}},
	{"the configuration must be rebuilt", "configuration-not-remembered", "cluster-configuration.yaml", renew.Warning, renew.Operator,
		func(e *renew.Examination) {
			e.Remembered, e.Asked = errors.New("the remembered cluster configuration /c is of another cluster"), errors.New("no answer")
		}},
	{"the configuration cannot be had", "configuration-unknown", "", renew.Warning, renew.Operator, rehearsed("cluster-configuration", "the cluster configuration is not known: it was never read from the API server")},
	{"it cannot be told what was loaded", "not-proven", renew.APIServer, renew.Info, renew.Nothing,
		func(e *renew.Examination) {
			processOf(e, renew.APIServer).Started, e.Observation.Served = time.Time{}, nil
		}},
	{"an external CA", "ca-elsewhere", "", renew.Info, renew.Nothing,
		func(e *renew.Examination) {
			c := certificateOf(e, "apiserver")
			c.State, c.CAKeyHere = pki.External, false
		}},
	{"somebody else is at work", "host-busy", "", renew.Warning, renew.Patience, andAlso(apiserverDue, gateClosed("host", "packages are being installed or removed: /var/lib/dpkg/lock is locked by dpkg (process 7)"))},
	{"the machine goes down", "gate-shutdown", "", renew.Warning, renew.Patience, andAlso(apiserverDue, gateClosed("shutdown", "the machine is shutting down"))},
	{"no kubeadm, on the day", "gate-kubeadm", "", renew.Warning, renew.Operator, andAlso(apiserverDue, gateClosed("kubeadm", "kubeadm version -o short: no such file"))},
	{"no kubeadm, too late", "gate-kubeadm", "", renew.Critical, renew.Operator,
		andAlso(func(e *renew.Examination) { endsIn(certificateOf(e, "apiserver"), -time.Hour) }, gateClosed("kubeadm", "kubeadm version -o short: no such file"))},
	{"no kubeadm, long before the day", "gate-kubeadm", "", renew.Warning, renew.Operator, rehearsed("kubeadm", "kubeadm version -o short: no such file")},
	{"a full disk", "gate-disk", "", renew.Warning, renew.Operator, rehearsed("disk", "the file system of /etc has 3 KiB left")},
	{"a sick peer", "gate-etcd", "", renew.Warning, renew.Operator, rehearsed("etcd", "other members of this cluster's etcd are not healthy: cp2 (no answer)")},
	{"another node's turn", "gate-turn", "", renew.Warning, renew.Patience, andAlso(apiserverDue, gateClosed("turn", "it is the turn of cp2, since 2026-03-01 11:59:00 UTC (renew 9 certificates)"))},
	{"a turn that a person has written", "turn", "", renew.Warning, renew.Operator,
		noticed(renew.Notice{ID: "turn", Severity: renew.Warning, Text: "etcd's key /kubecertd/turn does not hold what kubecertd writes (no JSON); the Lease counts", Remedy: "kubecertd lock status"})},
	{"another API server is away", "gate-apiserver", "", renew.Warning, renew.Operator, andAlso(apiserverDue, gateClosed("apiserver", "API servers of other nodes are not ready: cp2 (no answer)"))},
	{"two members, and none to spare", "gate-two-members", "", renew.Warning, renew.Operator,
		andAlso(apiserverDue, gateClosed("two-members", "this etcd has two members, and while one restarts there is no quorum and no API (turn.twoMembers is refuse)"))},
	{"two members", "two-members", "", renew.Warning, renew.Operator, noticed(renew.Notice{ID: "two-members", Severity: renew.Warning,
		Text: "this etcd has two members: while one restarts, for some seconds, there is no quorum and no API on either node", Remedy: "add a third member"})},
	{"kured reboots", "gate-kured", "", renew.Warning, renew.Patience, andAlso(apiserverDue, gateClosed("kured", "kured reboots control-plane nodes: cp2 has held its lock since 2026-03-01 11:59:00 UTC"))},
	{"a hook says no", "gate-hook", "", renew.Warning, renew.Operator, andAlso(apiserverDue, gateClosed("hook", "hooks.beforeRenewal says no: a backup is under way"))},
	{"another node is maintained", "gate-cordon", "", renew.Warning, renew.Patience, andAlso(apiserverDue, gateClosed("cordon", "other control-plane nodes are cordoned: cp2"))},
	{"an upgrade", "gate-upgrade", "", renew.Warning, renew.Patience, andAlso(apiserverDue, gateClosed("upgrade", "control-plane nodes run different versions: etcd is 3.6.8 on cp1, 3.6.9 on cp2"))},
	{"nobody says who else is at work", "neighbours-unknown", "", renew.Info, renew.Nothing, noticed(renew.Notice{ID: "neighbours-unknown", Severity: renew.Info,
		Text: "who else takes nodes of this cluster down could not be asked, and is not waited for: no answer"})},
	{"others are at work, and it cannot wait", "neighbours-passed", "", renew.Warning, renew.Operator, noticed(renew.Notice{ID: "neighbours-passed", Severity: renew.Warning,
		Text: "other control-plane nodes are cordoned: cp2; it is not waited for: apiserver expires in 1h0m", Remedy: "kubectl uncordon NODE"})},
	{"before the window", "gate-window", "", renew.Warning, renew.Patience,
		andAlso(apiserverDue, gateClosed("window", "the next maintenance window opens Mon 2026-03-02 01:00 UTC, in 13h0m (renew.windows), and nothing is critical before"))},
	{"nobody keeps the clock", "gate-clock", "", renew.Warning, renew.Operator,
		andAlso(apiserverDue, gateClosed("clock", "no time server keeps this host's clock, so that only what is critical is renewed (renew.critical)"))},
	{"some of it can wait", "held-back", "", renew.Info, renew.Nothing, noticed(renew.Notice{ID: "held-back", Severity: renew.Info, Text: "the restart of etcd waits: the next maintenance window opens Mon"})},
	{"a kubelet that will not start again", "kubelet-client-endangered", "", renew.Warning, renew.Operator, noticed(renew.Notice{ID: "kubelet-client-endangered", Severity: renew.Warning,
		Text: "kubelet-client is due: it is embedded in /etc/kubernetes/kubelet.conf", Remedy: "make it elsewhere"})},
	{"the kubelet is mended first", "kubelet-first", "", renew.Info, renew.Nothing, noticed(renew.Notice{ID: "kubelet-first", Severity: renew.Info,
		Text: "the kubelet comes first, since it brings back what is stopped; then follow: apiserver"})},
	{"a gate that nobody knows", "gate-moon", "", renew.Warning, renew.Operator, rehearsed("moon", "it is full")},
}

func TestFindings(t *testing.T) {
	if found := judged(examination()); len(found) > 0 {
		t.Fatalf("on a healthy node: %+v", found)
	}
	for _, tt := range strangeNodes {
		t.Run(tt.name, func(t *testing.T) {
			e := examination()
			tt.change(&e)
			found := judged(e)
			i := slices.IndexFunc(found, func(f renew.Finding) bool { return f.ID == tt.id })
			if i < 0 {
				t.Fatalf("not found: %+v", found)
			}
			f := found[i]
			if f.About != tt.about || f.Severity != tt.severity {
				t.Errorf("it is %s of %q, want %s of %q: %+v", f.Severity, f.About, tt.severity, tt.about, f)
			}
			if f.Found == "" || f.Itself+f.Remedy == "" && f.Severity != renew.Info {
				t.Errorf("nobody knows what to do: %+v", f)
			}
			if need := renew.NeedOf(found); need != tt.need {
				t.Errorf("what is needed is %v, want %v: %+v", need, tt.need, found)
			}
		})
	}
}

// What is worst comes first, and of that what nobody else sees to.
func TestFindingsAreSorted(t *testing.T) {
	e := examination()
	e.Snapshots = 0
	apiserverDue(&e)
	processOf(&e, renew.Scheduler).Running = false
	endsIn(certificateOf(&e, "scheduler.conf"), -time.Hour)
	e.Unhealthy = errors.New("no answer")
	var got []string
	for _, f := range judged(e) {
		got = append(got, string(f.Severity)+" "+f.ID)
	}
	want := []string{"critical kubelet-unhealthy", "critical component-down", "critical certificate-due", "warning certificate-due", "info snapshot-none"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Without the daemon, or behind a gate, nothing happens by itself, and that is said
// with what would.
func TestFindingsSayWhatComesFirst(t *testing.T) {
	e := examination()
	apiserverDue(&e)
	e.Daemon.Running = false
	gateClosed("kubeadm", "kubeadm version -o short: no such file")(&e)
	for _, f := range judged(e) {
		if f.ID != "certificate-due" {
			continue
		}
		if want := "it is renewed, and what holds it is restarted as soon as the daemon runs and these gates are open: kubeadm"; f.Itself != want || !f.At.IsZero() {
			t.Errorf("it says %q (%s)", f.Itself, f.At)
		}
		return
	}
	t.Error("the due certificate is not found")
}

// Every kind of finding that a table can make is in the table.
func TestStrangeNodesAreComplete(t *testing.T) {
	ids, _ := emitted(t)
	known := map[string]bool{}
	for _, tt := range strangeNodes {
		known[tt.id] = true
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if !known[id] {
			t.Errorf("no node is strange in the way of %s", id)
		}
	}
}
