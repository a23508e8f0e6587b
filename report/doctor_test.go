package report_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
)

func TestDiagnosis(t *testing.T) {
	d := report.Diagnosis{At: now, Findings: []renew.Finding{
		{ID: "kubelet-down", Severity: renew.Critical, About: "kubelet", Found: "the kubelet is not active:\nit is failed", Remedy: "systemctl start kubelet"},
		{ID: "certificate-due", Severity: renew.Warning, About: "a", Found: "a is to be renewed", Itself: "it is renewed", At: now},
		{ID: "certificate-due", Severity: renew.Warning, About: "b", Found: "b is to be renewed", Itself: "it is renewed", At: now},
		{ID: "renewal-failed", Severity: renew.Warning, About: "c", Found: "c failed", Itself: "it is tried again", At: now.Add(day)},
		{ID: "snapshot-none", Severity: renew.Info, Found: "none"},
	}}
	var out bytes.Buffer
	d.WriteText(&out)
	const want = `1 critical, 3 warning; some of it needs you.

CRITICAL  kubelet-down  kubelet
  the kubelet is not active: it is failed
  You: systemctl start kubelet

WARNING   certificate-due  (2)
  a is to be renewed
  b is to be renewed
  By itself, now: it is renewed

WARNING   renewal-failed  c
  c failed
  By itself, in 1d0h (2026-03-02 12:00:00 UTC): it is tried again

INFO      snapshot-none
  none

docs/troubleshooting.md has an entry for each of these.
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
	for _, tt := range []struct {
		findings []renew.Finding
		want     string
	}{
		{nil, "Nothing is wrong.\n"},
		{d.Findings[1:3], "2 warning; kubecertd sees to all of it.\n"},
	} {
		out.Reset()
		report.Diagnosis{At: now, Findings: tt.findings}.WriteText(&out)
		if line, _, _ := bytes.Cut(out.Bytes(), []byte("\n")); string(line)+"\n" != tt.want {
			t.Errorf("it begins with %q, want %q", line, tt.want)
		}
	}
}

// What is there has its place in JSON also when nothing is wrong.
func TestDiagnosisForPrograms(t *testing.T) {
	var out bytes.Buffer
	if err := report.Write(&out, "json", report.Diagnosis{At: now, Findings: renew.Findings(renew.Examination{}, renew.Policy{})}); err != nil {
		t.Fatal(err)
	}
	var got struct{ Findings []map[string]any }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got.Findings) != 1 || got.Findings[0]["id"] != "no-certificates" {
		t.Errorf("%v: %s", err, out.String())
	}
}
