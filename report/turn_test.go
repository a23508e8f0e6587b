package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
)

// Whose turn it is, and what to do about it, is said in words.
func TestWriteTurn(t *testing.T) {
	t.Parallel()
	failed := renew.Turn{Held: renew.Held{Holder: "cp2", Reason: "restart etcd", Failed: "run 7: kubeadm", Since: time.Now()},
		Behind: []renew.Held{{Holder: "cp3", Failed: "it lost the turn"}}, Notices: []string{"the Lease has no spec"}}
	tests := []struct {
		name   string
		status renew.TurnStatus
		want   []string
		not    string
	}{
		{"free", renew.TurnStatus{}, []string{"Turn: nobody's\n"}, "release"},
		{"its own", renew.TurnStatus{Turn: renew.Turn{Held: renew.Held{Holder: "cp1", Reason: "restart etcd"}}, Own: true, Age: 90}, []string{"Turn: cp1 (this node), for ", "restart etcd"}, "release"},
		{"failed", renew.TurnStatus{Turn: failed, Facts: &renew.HolderFacts{Node: "healthy", Member: "unhealthy", API: "unhealthy"}},
			[]string{"run 7: kubeadm", "kubecertd lock release cp2", "its etcd member: unhealthy", "was passed: cp3", "it lost the turn", "the Lease has no spec"}, "gone"},
		{"gone", renew.TurnStatus{Turn: failed, Gone: "cp2 is no node"}, []string{"seems to be gone", "cp2 is no node"}, "its etcd member"},
		{"unknown", renew.TurnStatus{Turn: renew.Turn{Unknown: "the key holds nonsense"}}, []string{"nobody knows whom", "nonsense"}, "Turn: nobody's\n"},
		{"not to be read", renew.TurnStatus{Error: "refused"}, []string{"cannot be told", "refused"}, "nobody's"},
	}
	for _, tt := range tests {
		var b strings.Builder
		report.WriteTurn(&b, tt.status)
		for _, want := range tt.want {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s: no %q in:\n%s", tt.name, want, b.String())
			}
		}
		if strings.Contains(b.String(), tt.not) {
			t.Errorf("%s: %q in:\n%s", tt.name, tt.not, b.String())
		}
	}
}
