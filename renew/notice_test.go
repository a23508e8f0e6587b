package renew_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
)

// Programs that read the plan, and records of runs from before, have sentences there.
func TestNoticesAreSentencesInJSON(t *testing.T) {
	plan := renew.Plan{Notices: renew.Notices{{ID: "ca-unusable", Severity: renew.Critical, Text: "ca is expired", Remedy: "replace it"}}}
	content, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Notices []string }
	if err := json.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ca is expired"}, got.Notices); diff != "" {
		t.Error(diff)
	}
	var back renew.Plan
	if err := json.Unmarshal(content, &back); err != nil {
		t.Fatal(err)
	}
	if back.Notices.String() != "ca is expired" {
		t.Errorf("read back: %q", back.Notices)
	}
}
