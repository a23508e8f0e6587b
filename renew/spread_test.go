package renew_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// dueAt is when the policy has a certificate due that lives so long and ends at the end.
func dueAt(policy renew.Policy, lifetime time.Duration) time.Time {
	end := now.Add(lifetime)
	return policy.Decide(leaf(now, end), now).At
}

// Nodes are due earlier than the threshold says and never later, by little of how long a
// certificate lives, and those of one cluster within minutes.
func TestSpreadIsBounded(t *testing.T) {
	for lifetime, most := range map[time.Duration]struct{ all, within time.Duration }{
		10 * 365 * day:  {24*time.Hour + 10*time.Minute, 10 * time.Minute},
		365 * day:       {24*time.Hour + 10*time.Minute, 10 * time.Minute},
		24 * time.Hour:  {50 * time.Minute, 10 * time.Minute},
		time.Hour:       {2 * time.Minute, time.Minute},
		time.Minute:     {2 * time.Second, time.Second},
		2 * time.Second: {100 * time.Millisecond, 50 * time.Millisecond},
	} {
		threshold := dueAt(shipped, lifetime)
		for c := range 50 {
			var first, last time.Time
			for n := range 5 {
				policy := shipped
				policy.Spread = renew.NewSpread(fmt.Sprint("cluster", c), fmt.Sprint("cp", n))
				at := dueAt(policy, lifetime)
				if earlier := threshold.Sub(at); earlier < 0 || earlier > most.all {
					t.Errorf("a certificate of %s is due %s earlier, want at most %s", lifetime, earlier, most.all)
				}
				if again := dueAt(policy, lifetime); !again.Equal(at) {
					t.Errorf("due at %s, and then at %s", at, again)
				}
				if first.IsZero() || at.Before(first) {
					first = at
				}
				if at.After(last) {
					last = at
				}
			}
			if apart := last.Sub(first); apart > most.within {
				t.Errorf("the nodes of a cluster are due %s apart, want at most %s", apart, most.within)
			}
		}
	}
}

// However long the threshold, a new certificate is not due at once.
func TestSpreadLeavesALongThresholdAlone(t *testing.T) {
	for _, share := range []float64{0.5, 0.9, 0.99, 0.9999} {
		policy := renew.Policy{Share: share, Spread: renew.Spread{Cluster: 0.999, Node: 0.999}}
		if at := dueAt(policy, 365*day); !at.After(now) {
			t.Errorf("with a threshold of %g of its life a new certificate is due at %s", share, at)
		}
	}
}

// Who differs only in the last character is as far apart as any two.
func TestSpreadIsEven(t *testing.T) {
	const nodes, parts = 10000, 20
	for _, name := range []string{"cp-%d", "ip-10-0-%d.eu-west-1.compute.internal", "%08d"} {
		var clusters, within [parts]int
		for i := range nodes {
			spread := renew.NewSpread(fmt.Sprintf(name, i), "cp1")
			clusters[int(spread.Cluster*parts)]++
			spread = renew.NewSpread("one", fmt.Sprintf(name, i))
			within[int(spread.Node*parts)]++
		}
		for _, counts := range [][parts]int{clusters, within} {
			if least, most := slices.Min(counts[:]), slices.Max(counts[:]); least < nodes/parts*8/10 || most > nodes/parts*12/10 {
				t.Errorf("%s: of %d in %d parts there are %d to %d in each", name, nodes, parts, least, most)
			}
		}
	}
}

func TestSpreadIsSaid(t *testing.T) {
	policy := shipped
	policy.Spread = renew.Spread{Cluster: 0.5}
	d := policy.Decide(leaf(now, now.Add(365*day)), now)
	if want := "(12h0m earlier than the threshold says: nodes are spread)"; !strings.Contains(d.Reason, want) {
		t.Errorf("reason %q, want %q in it", d.Reason, want)
	}
}

// What kubeadm made one after the other is renewed in one run, also when only the first
// of it is due.
func TestRenewedAlong(t *testing.T) {
	certificate := func(name string, left time.Duration) pki.Certificate {
		c := leaf(now.Add(left-365*day), now.Add(left))
		c.Name = name
		return c
	}
	external := certificate("external", 30*day+3*time.Second)
	external.CAKeyHere = false
	watched := certificate("watched", 30*day+3*time.Second)
	watched.Watched, watched.Renewer = true, pki.Nobody
	tests := []struct {
		name  string
		certs []pki.Certificate
		fails string // what has just failed
		wish  renew.Wish
		renew []string
	}{
		{"seconds apart", []pki.Certificate{certificate("a", 30*day+9*time.Second), certificate("b", 30*day), certificate("c", 30*day+time.Second)}, "", renew.Wish{}, []string{"a", "b", "c"}},
		{"a day apart", []pki.Certificate{certificate("a", 30*day), certificate("b", 31*day)}, "", renew.Wish{}, []string{"a", "b"}},
		{"more than a day apart", []pki.Certificate{certificate("a", 30*day), certificate("b", 31*day+time.Minute)}, "", renew.Wish{}, []string{"a"}},
		{"none is due", []pki.Certificate{certificate("a", 30*day+time.Second), certificate("b", 30*day+time.Second)}, "", renew.Wish{}, nil},
		{"the one that is due has failed", []pki.Certificate{certificate("a", 30*day), certificate("b", 30*day+time.Second)}, "a", renew.Wish{}, nil},
		{"the one that would come along has failed", []pki.Certificate{certificate("a", 30*day), certificate("b", 30*day+time.Second)}, "b", renew.Wish{}, []string{"a"}},
		{"asked for", []pki.Certificate{certificate("a", 30*day+time.Second), certificate("b", 30*day+time.Second)}, "", renew.Wish{Names: []string{"a"}}, []string{"a"}},
		{"not ours to renew", []pki.Certificate{certificate("a", 30*day), external, watched}, "", renew.Wish{}, []string{"a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := renew.Observation{At: now, ControlPlane: true, Certificates: tt.certs}
			if tt.fails != "" {
				o.Failures = map[string]renew.Failure{"renew " + tt.fails: {Count: 1, Last: now.Add(-time.Second)}}
			}
			policy := shipped
			policy.Retry = renew.Retry{After: time.Minute, Limit: time.Hour}
			plan := renew.Decide(o, policy, tt.wish)
			var got []string
			for _, r := range plan.Renew {
				got = append(got, r.Certificate)
			}
			if !slices.Equal(got, tt.renew) {
				t.Errorf("renewed %v, want %v", got, tt.renew)
			}
			for _, r := range plan.Renew {
				if at := shipped.Decide(o.Certificates[slices.IndexFunc(o.Certificates, func(c pki.Certificate) bool { return c.Name == r.Certificate })], now).At; at.After(now) &&
					tt.wish.Names == nil && !strings.Contains(r.Reason, "renewed along with") {
					t.Errorf("%s is not due, and the reason is %q", r.Certificate, r.Reason)
				}
			}
		})
	}
}
