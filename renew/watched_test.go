package renew_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// watching makes a fake node look at further files.
func watching(n *fakeNode, paths ...string) {
	cache := pki.NewCache()
	n.Locate = func() (pki.Layout, []error) {
		return pki.Locate(pki.Options{Root: n.files.Root, Watch: paths, Cache: cache})
	}
}

// A watched certificate is alarmed by the threshold that the node's own are renewed by,
// and wakes the daemon when it becomes worse; nothing is done for it.
func TestWatchedIsAlarmedAndNeverRenewed(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	policy := renew.Policy{Before: 30 * pkitest.Day}
	watched := pki.Certificate{Name: "/srv/a.pem", Path: "/srv/a.pem", Kind: pki.PEM, Renewer: pki.Nobody, Watched: true,
		State: pki.OK, Reason: "expires", NotBefore: now.Add(-265 * pkitest.Day)}
	for _, row := range []struct {
		left   time.Duration
		state  pki.State
		next   time.Duration // from now; 0 is none
		notice string
	}{
		{100 * pkitest.Day, pki.OK, 70 * pkitest.Day, ""},
		{30 * pkitest.Day, pki.Due, 30 * pkitest.Day, "/srv/a.pem is due: "},
		{time.Hour, pki.Due, time.Hour, "/srv/a.pem is due: "},
		{-time.Hour, pki.Expired, 0, "/srv/a.pem is expired: "},
	} {
		c := watched
		c.NotAfter = now.Add(row.left)
		if row.left < 0 {
			c.State = pki.Expired
		}
		plan := renew.Decide(renew.Observation{At: now, Certificates: []pki.Certificate{c}}, policy, renew.Wish{All: true})
		if plan.Work() {
			t.Errorf("%s left: something is to be done: %+v", row.left, plan)
		}
		if got := plan.Decisions[0]; got.State != row.state || got.Renew || !got.At.IsZero() {
			t.Errorf("%s left: decided %+v, want %s", row.left, got, row.state)
		}
		if next := plan.Next; (row.next == 0) != next.IsZero() || (row.next != 0 && !next.Equal(now.Add(row.next))) {
			t.Errorf("%s left: next is %s (%s), want in %s", row.left, next, plan.NextReason, row.next)
		}
		if got := plan.Notices.String(); !strings.HasPrefix(got, row.notice) || (row.notice == "") != (got == "") {
			t.Errorf("%s left: notices %q, want %q", row.left, got, row.notice)
		}
	}
}

// Thousands that have run out are not thousands of alarms.
func TestWatchedAlarmsAreBounded(t *testing.T) {
	var o renew.Observation
	for i := range 1000 {
		name := fmt.Sprintf("/srv/%d.pem", i)
		o.Certificates = append(o.Certificates, pki.Certificate{Name: name, Path: name, Watched: true, State: pki.Expired})
	}
	notices := renew.Decide(o, renew.Policy{}, renew.Wish{}).Notices
	if len(notices) != 21 || !strings.HasPrefix(notices[20].Text, "980 more watched certificates") {
		t.Errorf("%d notices, the last: %s", len(notices), notices[len(notices)-1])
	}
}

// A run renews, snapshots, restarts and records what it always does.
func TestWatchedIsNoPartOfARun(t *testing.T) {
	n := newFakeNode(t)
	due := func(name string) string {
		content, err := os.ReadFile(n.files.Certificate(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	for i := range 50 {
		n.files.Write(fmt.Sprintf("/srv/tls/%d.crt", i), due("apiserver")+"\n")
		n.files.Write(fmt.Sprintf("/srv/tls/ca-%d.crt", i), due("ca")+"\n")
	}
	n.files.Write("/srv/tls/admin.conf", due("admin.conf"))
	watching(n, "/srv/tls")
	look := n.Look(t.Context(), renew.Wish{})
	if got := len(slices.DeleteFunc(slices.Clone(look.Observation.Certificates), func(c pki.Certificate) bool { return !c.Watched })); got != 101 {
		t.Fatalf("%d watched certificates are seen, want 101", got)
	}
	id, _, err := n.Act(t.Context(), renew.Wish{}, "test")
	if err != nil {
		t.Fatal(err)
	}
	if got := n.calls(); len(got) != len(renewable) {
		t.Errorf("renewed %v", got)
	}
	snapshot, err := n.State.Snapshot(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range snapshot.Files {
		if strings.HasPrefix(f.Path, "/srv") {
			t.Errorf("%s is in the snapshot", f.Path)
		}
	}
	runs, err := n.State.History()
	if err != nil {
		t.Fatal(err)
	}
	if content, _ := json.Marshal(runs); strings.Contains(string(content), "/srv/tls/4.crt") {
		t.Error("the record of the run names what is watched only")
	}
	if got := due("admin.conf"); got == "" || strings.Contains(got, "\n\n") {
		t.Error("admin.conf is not as kubeadm writes it")
	}
}

// A file system that hangs holds up nothing else, and is not asked again meanwhile.
func TestWatchedFilesThatHang(t *testing.T) {
	n := newFakeNode(t)
	watching(n, "/srv/tls")
	n.files.Write("/srv/tls/README", "")
	renew.ShortReading(t)
	release := make(chan struct{})
	started := n.Hang(release)
	<-started
	for range 2 {
		o := n.Observe(t.Context(), time.Now())
		if got := fmt.Sprint(o.Problems); !strings.Contains(got, "watch.files not read within") {
			t.Errorf("problems: %s", got)
		}
		if _, here := o.Certificate("apiserver"); !here {
			t.Error("the node's own certificates are not seen")
		}
	}
	close(release)
	if o := n.Observe(t.Context(), time.Now()); len(o.Problems) > 0 {
		t.Errorf("it does not hang any more: %v", o.Problems)
	}
}
