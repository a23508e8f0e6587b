package renew_test

import (
	"container/heap"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// Settings as they ship.
const (
	checkInterval = time.Hour
	checkRetry    = time.Minute
)

// member is a node in the simulation: what it decides is decided by the real code from
// certificates that nobody signed.
type member struct {
	cluster, name string
	policy        renew.Policy
	seen          renew.Observation
	busy          *time.Time // of its cluster: until when one of it is at work
	at            time.Time  // of its next look
}

// due orders members by their next look (heap.Interface).
type schedule []*member

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].at.Before(s[j].at) }
func (s schedule) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(m any)        { *s = append(*s, m.(*member)) }
func (s *schedule) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}

// fleet is a simulation of many clusters.
type fleet struct {
	t       *testing.T
	random  *rand.Rand
	fails   float64 // the share of runs that fail
	members schedule
	born    time.Time

	starts   []time.Time             // of all runs
	rounds   map[string][2]time.Time // first start and last end of the first round of each cluster
	failed   map[string]bool         // clusters in which a run has failed
	least    time.Duration           // that a certificate had left when it was renewed
	requests map[string]map[int]int  // of each cluster, by hour since its birth
	decided  int
}

// newFleet makes clusters of so many nodes, all of which were born in the same second.
func newFleet(t *testing.T, clusters, nodes int, spread bool, fails float64) *fleet {
	f := &fleet{t: t, random: rand.New(rand.NewPCG(1, 2)), fails: fails, born: now, least: 1 << 62,
		rounds: map[string][2]time.Time{}, failed: map[string]bool{}, requests: map[string]map[int]int{}}
	for c := range clusters {
		name := fmt.Sprint("cluster-", c)
		busy := new(time.Time)
		f.requests[name] = map[int]int{}
		for n := range nodes {
			m := &member{cluster: name, name: fmt.Sprint("cp-", n+1), policy: shipped, busy: busy, at: f.born}
			m.policy.Retry = renew.Retry{After: checkRetry, Limit: 4 * time.Hour}
			if spread {
				m.policy.Spread = renew.NewSpread(name, m.name)
			}
			m.seen = renew.Observation{ControlPlane: true, Failures: map[string]renew.Failure{}}
			for _, component := range renew.Order {
				m.seen.Components = append(m.seen.Components, renew.Component{Name: component, Running: true})
			}
			m.renewed(f.born)
			f.members = append(f.members, m)
		}
	}
	heap.Init(&f.members)
	return f
}

// renewed gives a node new certificates, one after the other as kubeadm makes them.
func (m *member) renewed(at time.Time) {
	m.seen.Certificates = m.seen.Certificates[:0]
	for i, name := range renewable {
		issued := at.Add(time.Duration(i) * time.Second)
		m.seen.Certificates = append(m.seen.Certificates, pki.Certificate{Name: name, Kind: pki.PEM, Renewer: pki.Kubeadm, CA: "ca", KeyPath: "k",
			NotBefore: issued.Add(-5 * time.Minute), Issued: issued, NotAfter: issued.Add(365 * day), Changed: issued, KeyMatches: true, CAKeyHere: true,
			State: pki.OK, Leaf: &x509.Certificate{}})
	}
	for i := range m.seen.Components {
		m.seen.Components[i].Started = at.Add(time.Minute)
	}
	clear(m.seen.Failures)
}

// run lets time pass until the end.
func (f *fleet) run(end time.Time) {
	for f.members[0].at.Before(end) {
		m := f.members[0]
		m.at = f.look(m)
		heap.Fix(&f.members, 0)
	}
}

// look is one look of a node as the loop has them, and says when the next one of interest
// is. What the hourly looks in between ask for is counted in report.
func (f *fleet) look(m *member) time.Time {
	at := m.at
	m.seen.At = at
	for i, c := range m.seen.Certificates {
		if !at.Before(c.NotAfter) {
			f.t.Fatalf("%s of %s in %s expired", c.Name, m.name, m.cluster)
		}
		m.seen.Certificates[i].State = pki.OK
	}
	f.decided++
	plan := renew.Decide(m.seen, m.policy, renew.Wish{})
	if len(plan.Blocked) > 0 {
		f.t.Fatalf("blocked by %v", plan.Blocked)
	}
	if !plan.Work() {
		if plan.Next.IsZero() {
			f.t.Fatalf("%s in %s has nothing to wait for", m.name, m.cluster)
		}
		return at.Add(max(plan.Next.Sub(at), time.Second))
	}
	f.ask(m, at, requestsPerGate)
	if at.Before(*m.busy) {
		return at.Add(checkRetry) // somebody else's turn
	}
	f.ask(m, at, requestsPerGate+requestsPerRun)
	took := 20*time.Second + time.Duration(f.random.Int64N(int64(40*time.Second)))
	*m.busy = at.Add(took)
	f.starts = append(f.starts, at)
	round := f.rounds[m.cluster]
	if round[0].IsZero() {
		round[0] = at
	}
	if at.Sub(round[0]) < 30*day {
		round[1] = at.Add(took)
	}
	f.rounds[m.cluster] = round
	if f.random.Float64() < f.fails {
		f.failed[m.cluster] = true
		for _, r := range plan.Renew {
			failure := m.seen.Failures["renew "+r.Certificate]
			m.seen.Failures["renew "+r.Certificate] = renew.Failure{Count: failure.Count + 1, Run: fmt.Sprint(m.cluster, m.name, at), Last: at.Add(took), Error: "it was so"}
		}
		return at.Add(took)
	}
	if len(plan.Renew) != len(renewable) {
		f.t.Errorf("a run of %s in %s renews %d certificates of %d: the others take another one", m.name, m.cluster, len(plan.Renew), len(renewable))
	}
	for _, c := range m.seen.Certificates {
		f.least = min(f.least, c.NotAfter.Sub(at))
	}
	m.renewed(at)
	return at.Add(took)
}

func (f *fleet) ask(m *member, at time.Time, requests int) {
	f.requests[m.cluster][int(at.Sub(f.born)/time.Hour)] += requests
}

// most is the most runs that begin within so long.
func (f *fleet) most(within time.Duration) int {
	count := map[time.Duration]int{}
	for _, at := range f.starts {
		count[at.Sub(f.born)/within]++
	}
	most := 0
	for _, c := range count {
		most = max(most, c)
	}
	return most
}

// A thousand clusters of three that were made in the same second, over two years and
// with runs that fail, are renewed over a day each time; a cluster within minutes; and
// nothing expires.
func TestYearOfAFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("two years of a thousand clusters take a minute; make test has it")
	}
	const clusters, nodes = 1000, 3
	years := 2
	if os.Getenv("KUBECERTD_SOAK") != "" {
		years = 20
	}
	f := newFleet(t, clusters, nodes, true, 0.02)
	f.run(f.born.Add(time.Duration(years) * 365 * day))
	rounds := len(f.starts) / (clusters * nodes)
	if rounds < years {
		t.Fatalf("%d runs in %d years", len(f.starts), years)
	}
	perMinute, perHour := f.most(time.Minute), f.most(time.Hour)
	// A thousand clusters in a day are 125 runs an hour, and 2 a minute.
	if perMinute > 15 || perHour > 200 {
		t.Errorf("at most %d runs begin in a minute, %d in an hour", perMinute, perHour)
	}
	if f.least < 28*day {
		t.Errorf("a certificate had %s left when it was renewed", f.least)
	}
	var longest []time.Duration
	for name, round := range f.rounds {
		if !f.failed[name] {
			longest = append(longest, round[1].Sub(round[0]))
		}
	}
	slices.Sort(longest)
	if worst := longest[len(longest)-1]; worst > 15*time.Minute {
		t.Errorf("a cluster took %s", worst)
	}
	mean, worst := f.asked(years, nodes)
	t.Logf("%d clusters of %d, %d years, born in one second: %d runs, at most %d begin in a minute and %d in an hour; least left %s; a cluster takes %s (median) to %s from its first run to its last; "+
		"requests to a cluster's API server: %.2f an hour, at most %d in one; %d decisions",
		clusters, nodes, years, len(f.starts), perMinute, perHour, pki.Span(f.least), longest[len(longest)/2].Round(time.Second), longest[len(longest)-1].Round(time.Second), mean, worst, f.decided)
	if mean > 7 || worst > 200 {
		t.Errorf("a cluster's API server is asked %.2f times an hour, and %d times in the worst", mean, worst)
	}
}

// asked is how often a cluster's API server is asked in an hour, and in the worst hour of
// any cluster.
func (f *fleet) asked(years, nodes int) (mean float64, worst int) {
	total, hours := 0, years*365*24
	for _, hourly := range f.requests {
		for _, n := range hourly {
			total += n
			worst = max(worst, n)
		}
	}
	idle := nodes * requestsPerLook // and as many again after each change of a file
	return float64(total)/float64(len(f.requests)*hours) + float64(idle)*float64(time.Hour/checkInterval), worst + 2*idle
}

// Without the spread they would all begin at once.
func TestYearWithoutSpread(t *testing.T) {
	f := newFleet(t, 100, 3, false, 0)
	f.run(f.born.Add(365 * day))
	if perMinute := f.most(time.Minute); perMinute < 100 {
		t.Errorf("at most %d runs begin in a minute: what does the spread change?", perMinute)
	}
}

// A hundred worker nodes do nothing for a year, and ask for nothing: what their kubelets
// have those renew themselves.
func TestYearOfWorkers(t *testing.T) {
	step := day
	if os.Getenv("KUBECERTD_SOAK") != "" {
		step = checkInterval
	}
	runs := 0
	for n := range 100 {
		policy := shipped
		policy.Spread = renew.NewSpread("one", fmt.Sprint("worker-", n))
		issued := now
		for at := now; at.Before(now.Add(365 * day)); at = at.Add(step) {
			if at.Sub(issued) > 290*day { // the kubelet's own choice
				issued = at
			}
			o := renew.Observation{At: at, Components: []renew.Component{{Name: renew.Kubelet, Running: true, Started: now}},
				Certificates: []pki.Certificate{
					{Name: "kubelet-client", Kind: pki.PEM, Renewer: pki.Kubelet, CA: "ca", NotBefore: issued, Issued: issued, NotAfter: issued.Add(365 * day), Changed: issued, KeyMatches: true, State: pki.OK, Leaf: &x509.Certificate{}},
					{Name: "ca", Kind: pki.CA, Renewer: pki.Nobody, NotBefore: now, Issued: now, NotAfter: now.Add(3650 * day), State: pki.OK, Leaf: &x509.Certificate{}}}}
			if renew.Decide(o, policy, renew.Wish{}).Work() {
				runs++
			}
		}
	}
	if runs > 0 {
		t.Errorf("%d looks found something to do", runs)
	}
}
