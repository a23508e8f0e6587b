package renew_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// Of a file that is only watched, and of which it is known how it is made, that is said
// whatever is wrong with it.
func TestWatchedWithARemedy(t *testing.T) {
	const file, remedy = "/etc/kubernetes/kubecertd.conf", "kubeadm kubeconfig user"
	for state, left := range map[pki.State]time.Duration{pki.OK: 10 * day, pki.Expired: -time.Hour, pki.Missing: 0, pki.Invalid: 0} {
		c := leaf(now.Add(left-365*day), now.Add(left))
		c.Name, c.Path, c.Watched, c.Renewer, c.State = file, file, true, pki.Nobody, state
		policy := shipped
		policy.Remedies = map[string]string{file: remedy, "/other": "no"}
		notices := renew.Decide(renew.Observation{At: now, Certificates: []pki.Certificate{c}}, policy, renew.Wish{}).Notices
		if len(notices) != 1 || notices[0].Remedy != remedy || !strings.HasSuffix(notices[0].Text, "; make it anew: "+remedy) {
			t.Errorf("%s: %q", state, notices)
		}
		c.Path = "/elsewhere"
		notices = renew.Decide(renew.Observation{At: now, Certificates: []pki.Certificate{c}}, policy, renew.Wish{}).Notices
		if len(notices) != 1 || strings.Contains(notices[0].Text, "anew") {
			t.Errorf("%s of another file: %q", state, notices)
		}
	}
}
