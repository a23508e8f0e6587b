package renew

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestDecideTurn(t *testing.T) {
	t.Parallel()
	held := Turn{Held: Held{Holder: "cp2", Since: time.Unix(0, 0), Reason: "restart etcd"}}
	failed := Turn{Held: Held{Holder: "cp2", Failed: "kubeadm: CA key not found"}}
	well := HolderFacts{Node: PartHealthy, Member: PartHealthy, API: PartHealthy}
	deleted := HolderFacts{Node: PartRemoved, Member: PartRemoved, API: PartRemoved}
	tests := []struct {
		name    string
		facts   turnFacts
		verdict string
		working bool
		gone    bool
		says    []string
	}{
		{"free", turnFacts{}, TurnTake, false, false, nil},
		{"free, and this node leads", turnFacts{Leads: true}, TurnYield, false, false, []string{"standbys"}},
		{"its own", turnFacts{Turn: Turn{Held: Held{Holder: "cp1"}}}, TurnGoOn, false, false, nil},
		{"its own, and it leads", turnFacts{Turn: Turn{Held: Held{Holder: "cp1"}}, Leads: true}, TurnGoOn, false, false, nil},
		{"another works", turnFacts{Turn: held, Holder: well}, TurnWait, true, false, []string{"cp2", "restart etcd", "1970"}},
		{"another has failed", turnFacts{Turn: failed, Holder: well}, TurnWait, false, false, []string{"CA key not found", "kubecertd lock release cp2"}},
		{"another has failed, and it is urgent", turnFacts{Turn: failed, Holder: well, Urgent: "apiserver expires in 2 days"}, TurnPass, false, false, []string{"apiserver expires"}},
		{"another is gone", turnFacts{Turn: failed, Holder: deleted}, TurnPass, false, true, []string{"no node of this cluster"}},
		{"nobody knows", turnFacts{Turn: Turn{Unknown: "the key holds nonsense"}}, TurnWait, false, false, []string{"nonsense", "lock release --force"}},
		{"nobody knows, and it is urgent", turnFacts{Turn: Turn{Unknown: "nonsense"}, Urgent: "it expires"}, TurnPass, false, false, nil},
		{"not to be read", turnFacts{Err: errors.New("refused")}, TurnWait, false, false, []string{"refused"}},
		{"not to be read, and it is urgent", turnFacts{Err: errors.New("refused"), Urgent: "it expires"}, TurnWithout, false, false, []string{"refused", "it expires"}},
		{"no quorum", turnFacts{Err: fmt.Errorf("etcd: %w", ErrNoQuorum)}, TurnWait, false, false, []string{"no quorum"}},
		{"no quorum, and it is urgent", turnFacts{Err: fmt.Errorf("etcd: %w", ErrNoQuorum), Urgent: "it has expired"}, TurnWithout, false, false, []string{"no availability to protect"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.facts.Node = "cp1"
			d := decideTurn(tt.facts)
			if d.Verdict != tt.verdict || d.Working != tt.working || d.Gone != tt.gone {
				t.Errorf("%+v", d)
			}
			for _, word := range tt.says {
				if !strings.Contains(d.Reason+d.Remedy, word) {
					t.Errorf("no %q in %q, %q", word, d.Reason, d.Remedy)
				}
			}
			if d.Reason == "" || d.Verdict == TurnWait && d.Remedy == "" {
				t.Errorf("%+v does not say why, or what to do", d)
			}
		})
	}
	if d := decideTurn(turnFacts{}); d.Verdict != TurnWait {
		t.Errorf("a node without a name: %+v", d)
	}
}

// Whoever is slow, broken or cannot be seen is not gone.
func TestGone(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		facts  HolderFacts
		failed string
		gone   bool
	}{
		{"works", HolderFacts{PartHealthy, 0, PartHealthy, PartHealthy}, "", false},
		{"deleted and removed", HolderFacts{PartRemoved, 0, PartRemoved, PartRemoved}, "", true},
		{"deleted and removed after it failed", HolderFacts{PartRemoved, 0, PartRemoved, PartRemoved}, "broken", true},
		{"deleted, and its member is there", HolderFacts{PartRemoved, 0, PartHealthy, PartHealthy}, "", true},
		{"deleted in the middle of its restarts", HolderFacts{PartRemoved, 0, PartUnhealthy, PartUnhealthy}, "", false},
		{"deleted, and its API server is down", HolderFacts{PartRemoved, 0, PartHealthy, PartUnhealthy}, "", false},
		{"silent for a moment", HolderFacts{PartUnhealthy, time.Minute, PartHealthy, PartHealthy}, "", false},
		{"silent for ten minutes, which the clocks may be apart", HolderFacts{PartUnhealthy, 10 * time.Minute, PartHealthy, PartHealthy}, "", false},
		{"silent for long", HolderFacts{PartUnhealthy, longSilent, PartHealthy, PartHealthy}, "", true},
		{"silent for long after it failed", HolderFacts{PartUnhealthy, 24 * time.Hour, PartHealthy, PartHealthy}, "broken", false},
		{"powered off", HolderFacts{PartUnhealthy, 24 * time.Hour, PartUnhealthy, PartUnhealthy}, "", false},
		{"the API does not answer", HolderFacts{PartUnknown, 0, PartRemoved, PartRemoved}, "", false},
		{"etcd does not answer", HolderFacts{PartRemoved, 0, PartUnknown, PartUnknown}, "", false},
	}
	for _, tt := range tests {
		gone, why := gone(Held{Holder: "cp2", Failed: tt.failed}, tt.facts)
		if gone != tt.gone || gone != (why != "") {
			t.Errorf("%s: gone %t, %q", tt.name, gone, why)
		}
	}
}

// Who was passed holds the turn again when who passed has given it back.
func TestTurnChangesHands(t *testing.T) {
	t.Parallel()
	seen := cmpopts.IgnoreFields(Turn{}, "Seen")
	first := Turn{Seen: 7}.taken(Held{Holder: "cp1", Reason: "restart etcd"}, false)
	broken := first.failed("cp1", "it did not come back")
	passed := broken.taken(Held{Holder: "cp2", Passed: true}, true)
	want := Turn{Held: Held{Holder: "cp2", Passed: true}, Behind: []Held{{Holder: "cp1", Reason: "restart etcd", Failed: "it did not come back"}}}
	if diff := cmp.Diff(want, passed, seen); diff != "" || passed.Seen != 7 {
		t.Errorf("passed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(broken, passed.released("cp2"), seen, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("given back by who passed (-want +got):\n%s", diff)
	}
	if left := passed.released("cp1"); left.Holder != "cp2" || len(left.Behind) != 0 {
		t.Errorf("given back by who was passed: %+v", left)
	}
	if again := passed.taken(Held{Holder: "cp1"}, true); again.Failed == "" || len(again.Behind) != 1 || again.Behind[0].Holder != "cp2" {
		t.Errorf("who has failed is as broken as it was: %+v", again)
	}
	if late := passed.failed("cp1", "lost the turn"); late.Failed != "" || late.Behind[0].Failed != "lost the turn" || passed.Behind[0].Failed == "lost the turn" {
		t.Errorf("failed after it was passed: %+v", late)
	}
	if gone := broken.taken(Held{Holder: "cp2"}, false); len(gone.Behind) != 0 {
		t.Errorf("who is gone holds nothing: %+v", gone)
	}
}
