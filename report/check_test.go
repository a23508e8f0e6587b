package report_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
)

func TestCheck(t *testing.T) {
	certificate := func(name string, left time.Duration) pki.Certificate {
		return pki.Certificate{Name: name, NotAfter: now.Add(left), Watched: strings.HasPrefix(name, "/")}
	}
	some := []pki.Certificate{certificate("apiserver", 30*day), certificate("etcd-server", 12*day), {Name: "super-admin.conf"}}
	found := func(s renew.Severity, text string) renew.Finding { return renew.Finding{Severity: s, Found: text} }
	for _, tt := range []struct {
		name         string
		certificates []pki.Certificate
		findings     []renew.Finding
		level        report.Level
		npd          int
		line         string
	}{
		{"all is well", some, []renew.Finding{found(renew.Info, "there is no snapshot yet")}, report.LevelOK, 0,
			"OK: 2 certificates; etcd-server ends in 12d"},
		{"a warning", some, []renew.Finding{found(renew.Warning, "kubecertd is paused")}, report.LevelWarning, 1,
			"WARNING: kubecertd is paused; etcd-server ends in 12d"},
		{"the worst comes first and decides", some, []renew.Finding{found(renew.Critical, "the daemon does not run"), found(renew.Warning, "b"), found(renew.Info, "c")}, report.LevelCritical, 1,
			"CRITICAL: the daemon does not run; 1 more; etcd-server ends in 12d"},
		{"what has run out", []pki.Certificate{certificate("apiserver", -day)}, []renew.Finding{found(renew.Critical, "apiserver expired")}, report.LevelCritical, 1,
			"CRITICAL: apiserver expired; apiserver ended 1d0h ago"},
		{"there is nothing to look at", nil, []renew.Finding{found(renew.Warning, "none")}, report.LevelUnknown, 3,
			"UNKNOWN: no certificates of a kubeadm cluster were found"},
		{"a long one still says what ends next", some, []renew.Finding{found(renew.Critical, strings.Repeat("very ", 40))}, report.LevelCritical, 1,
			"CRITICAL: very very very very very very very very ve...; etcd-server ends in 12d"},
		{"neither lines nor what Nagios takes for numbers nor what a terminal obeys", some, []renew.Finding{found(renew.Warning, "one\ntwo | three \x1b[2J")}, report.LevelWarning, 1,
			"WARNING: one two / three ?[2J; etcd-server ends in 12d"},
		{"letters of several bytes stay whole", []pki.Certificate{certificate("/srv/ä", day)}, []renew.Finding{found(renew.Warning, strings.Repeat("ä", 80))}, report.LevelWarning, 1,
			"WARNING: " + strings.Repeat("ä", 25) + "...; ä ends in 1d0h"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			level, line := report.Check(renew.Look{Observation: renew.Observation{At: now, Certificates: tt.certificates}}, tt.findings)
			if level != tt.level || line != tt.line {
				t.Errorf("is %s\n%s\nwant %s\n%s", level, line, tt.level, tt.line)
			}
			if got := level.NPD(); got != tt.npd {
				t.Errorf("node-problem-detector is told %d, want %d", got, tt.npd)
			}
			if len(line) > 80 || !utf8.ValidString(line) {
				t.Errorf("%d bytes: %q", len(line), line)
			}
		})
	}
}
